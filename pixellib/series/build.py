"""Drive the Snakefile: one build at a time, a summary of what failed, good figures promoted at the end."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pixellib.data.cache import cache_dir
from pixellib.series import execute
from pixellib.series.execute import ROOT

FIGURES = (".png", ".npz")  # an .npz holds the data of the figure beside it


def build(profile: str = "reference", jobs: int | None = None, options: Sequence[str] = ()) -> None:
    """Bring the executed notebooks, figures and site of a profile up to date under ``build/PROFILE/``.

    `jobs` is the number of cores (default: all this process may use), `options` are handed to snakemake.
    A build that was killed is simply continued: our lock, unlike snakemake's own, dies with its holders.
    After a complete success of the reference profile its figures replace those in ``figures/``.
    Raises RuntimeError when something failed, after a list of what did and where its log is.
    """
    execute.check_profile(profile)
    jobs = jobs or _cores()
    busy = "another build is at work in this checkout; waiting for it to end"
    with execute.lock(ROOT / "build" / "build.lock", busy) as held:
        start = time.time()
        if _snakemake(profile, jobs, options, held) != 0:
            _report(profile, start)
            raise RuntimeError(f"the {profile} build is not complete; `make figures` goes on from here")
        promoted = promote() if profile == "reference" else []
    news = f"; new in figures/: {', '.join(promoted)}" if promoted else ""
    print(f"{profile} build complete after {time.time() - start:.0f} s{news}", file=sys.stderr)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
    return len(affinity(0)) if affinity else os.cpu_count()


def _log(profile: str, name: str) -> Path:
    return ROOT / "build" / profile / "logs" / f"{name}.log"


def _snakemake(profile: str, jobs: int, options: Sequence[str], held: int) -> int:
    """Exit code of snakemake, whose jobs print to the terminal and to their logs; it speaks in snakemake.log.

    It inherits the lock, and so holds it should this process alone be killed.
    """
    threads = max(1, jobs // max(1, len(execute.names())))
    command = [sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", "--cores", str(jobs)]
    command += ["--config", f"profile={profile}", f"threads={threads}", "--keep-going", "--rerun-incomplete"]
    command += ["--rerun-triggers", "mtime", "--nolock", *options]  # a flag before them, so that they may be targets
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PIXELLIB_DATA": str(cache_dir()),  # data stay where the user keeps them,
        "XDG_CACHE_HOME": str(ROOT / "build" / "cache"),  # what snakemake keeps goes with the build
    }
    log = _log(profile, "snakemake")
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[held], stderr=file)
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                pass  # snakemake got the same signal and is stopping its jobs


def _report(profile: str, start: float) -> None:
    """Print a line for every job that failed since `start`: the last one of its log, and where that lies."""
    folder = ROOT / "build" / profile
    outputs = {name: folder / "notebooks" / f"{name}.ipynb" for name in execute.names()}
    outputs |= {f"{name}.page": folder / "site" / f"{name}.html" for name in execute.names()}
    failed = False
    for job, output in outputs.items():
        log = _log(profile, job)
        if output.exists() or not log.exists() or log.stat().st_mtime < start:
            continue  # a failed job leaves a log and no output
        lines = log.read_text(errors="replace").splitlines() or ["said nothing"]
        print(f"  {lines[-1].removeprefix('pixellib: ')} [log: {execute.shorten(log)}]", file=sys.stderr)
        failed = True
    if not failed:
        messages = _log(profile, "snakemake").read_text(errors="replace").splitlines()[-10:]
        print(*(f"  {line}" for line in messages), sep="\n", file=sys.stderr)


def promote() -> list[str]:
    """Copy the figures of the reference build over those in ``figures/``; the names of those that changed."""
    built = sorted((ROOT / "build" / "reference" / "figures").glob("*/*"))
    figures = [file for file in built if file.suffix in FIGURES]
    return [file.name for file in figures if execute.replace(ROOT / "figures" / file.name, file.read_bytes())]
