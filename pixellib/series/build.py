"""Drive the Snakefile: one build at a time, a summary of what failed, and complete builds promoted to figures/."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pixellib import files
from pixellib.data.cache import cache_dir
from pixellib.series import doctor, execute, paths


def build(profile: str = "reference", jobs: int | None = None, options: Sequence[str] = ()) -> None:
    """Bring the executed notebooks, figures and site of a profile up to date under `build/PROFILE/`.

    `jobs` is the number of cores (default: all this process may use). After a complete success of the reference
    profile its figures replace those in `figures/`. `options` are handed to snakemake; they may ask for a plan, for
    other targets or for nothing at all, so with options nothing is promoted, whatever snakemake answers.

    A build that was killed is simply continued. The system frees the lock of one that died; should its snakemake
    still be at work, then the lock that each notebook's job takes keeps the two from writing the same output.
    Raises RuntimeError when something failed, after a list of what did and where its log is.
    """
    execute.check_profile(profile)
    jobs = jobs or doctor.cores()
    busy = "another build is at work in this checkout; waiting for it to end"
    with execute.lock(paths.ROOT / "build" / "build.lock", busy):
        start = time.time()
        if not options:
            _remove_outdated(profile)
        code = _snakemake(profile, jobs, options)
        if options:  # who asks snakemake for something wants to read its answer
            print(_log(profile, "snakemake").read_text(errors="replace"), end="", file=sys.stderr)
        if code != 0:
            _report(profile, start)
            command = "sweep" if "sweep" in options else "figures"
            raise RuntimeError(f"the {profile} build is not complete; `make {command}` goes on from here")
        if options:
            print(f"snakemake succeeded with {' '.join(options)}; nothing was promoted", file=sys.stderr)
            return
        promoted = promote() if profile == "reference" else []
    news = f"; new in figures/: {', '.join(promoted)}" if promoted else ""
    print(f"{profile} build complete after {time.time() - start:.0f} s{news}", file=sys.stderr)


def mark_up_to_date(jobs: int | None = None) -> None:
    """Let the reference build count as newer than its sources, as after publishing, which writes to the sources."""
    with execute.lock(paths.ROOT / "build" / "build.lock", "another build is at work; waiting for it to end"):
        if _snakemake("reference", jobs or doctor.cores(), ["--touch"]) != 0:
            raise RuntimeError("the build could not be marked as up to date; the next one will run notebooks again")


def promote() -> list[str]:
    """Write the figures that the reference build's notebooks show to `figures/`; the names of those that changed.

    The notebooks are the source, not the folders that the figures were saved to, where anything may have been left.
    """
    notebooks = (execute.read(executed(name)) for name in execute.names())
    figures = {name: png for notebook in notebooks for name, png in execute.figures(notebook).items()}
    return [name for name, png in figures.items() if files.replace(paths.ROOT / "figures" / f"{name}.png", png)]


def executed(name: str, profile: str = "reference") -> Path:
    """Where a build keeps an executed notebook."""
    return paths.ROOT / "build" / profile / "notebooks" / f"{name}.ipynb"


def _remove_outdated(profile: str) -> None:
    """Remove executed notebooks that were made from other sources or with other parameters: times of change, by which
    snakemake decides, do not tell that a file was deleted, or that somebody chose parameters.
    """
    for name in execute.names():
        path = executed(name, profile)
        if path.exists() and not execute.is_of_today(name, execute.read(path)):
            path.unlink()


def _log(profile: str, name: str) -> Path:
    return paths.ROOT / "build" / profile / "logs" / f"{name}.log"


def _snakemake(profile: str, jobs: int, options: Sequence[str]) -> int:
    """Exit code of snakemake, whose jobs print to the terminal and to their logs; its own messages go to a log too."""
    threads = max(1, jobs // max(1, len(execute.names())))
    command = [sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", "--cores", str(jobs)]
    command += ["--config", f"profile={profile}", f"threads={threads}"]  # profiles/default has more options
    command += ["--nolock", *options]  # a flag before them, so that they may be targets
    environment = os.environ | {
        "PYTHONPATH": str(paths.ROOT),
        "PIXELLIB_DATA": str(cache_dir()),  # data stay where the user keeps them,
        "PIXELLIB_RUNS": str(paths.WORK),
        "XDG_CACHE_HOME": str(paths.ROOT / "build" / "cache"),  # what snakemake keeps goes with the build
    }
    log = _log(profile, "snakemake")
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as file:
        process = subprocess.Popen(command, cwd=paths.ROOT, env=environment, stderr=file)
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                pass  # snakemake got the same signal and is stopping its jobs


def _report(profile: str, start: float) -> None:
    """Print a line for every job that failed since `start`: the last one of its log, and where that lies."""
    folder = paths.ROOT / "build" / profile
    outputs = {name: folder / "notebooks" / f"{name}.ipynb" for name in execute.names()}
    outputs |= {f"{name}.page": folder / "site" / f"{name}.html" for name in execute.names()}
    failed = False
    for job, output in outputs.items():
        log = _log(profile, job)
        if output.exists() or not log.exists() or log.stat().st_mtime < start:
            continue  # a failed job leaves a log and no output
        lines = log.read_text(errors="replace").splitlines() or ["said nothing"]
        print(f"  {lines[-1].removeprefix('pixellib: ')} [log: {paths.shorten(log)}]", file=sys.stderr)
        failed = True
    if not failed:
        messages = _log(profile, "snakemake").read_text(errors="replace").splitlines()[-10:]
        print(*(f"  {line}" for line in messages), sep="\n", file=sys.stderr)
