"""kill -9 at random moments, of trainings, notebooks and the graph: afterwards all is as if nothing had happened."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from test_resume import alone, drill  # noqa: F401
from throwaway import FIGURE, command, descendants, kill, pixellib, project, wait_for
from trainings import NAMES, TARGETS, training

SLOW = [FIGURE, *["import time\ntime.sleep(0.3)\nprint('on')"] * 4]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "save_every"), [(0, 0), (1, 0.05)])
def test_twenty_kills_of_trainings(alone, tmp_path, seed, save_every, survived):  # noqa: F811
    assert drill(tmp_path, save_every, num_kills=10, seed=seed) == alone
    survived("SIGKILL of a training", 10)


def cells(path: Path) -> list:
    """What a notebook says, without the times that papermill notes."""
    notebook = nbformat.read(path, as_version=4)
    return [(cell.source, cell.get("outputs")) for cell in notebook.cells if "injected" not in str(cell.metadata)]


def start_and_kill(moments: random.Random, longest: float, **options) -> None:
    """Start a command in a group of its own, and kill all of it after a random time."""
    process = subprocess.Popen(**options, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(moments.uniform(0.5, longest))
    assert process.poll() is None, "it ended before it could be killed"
    kill(descendants(process.pid))
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_five_kills_of_a_notebook(tmp_path, survived):
    root, moments = project(tmp_path / "a clone", **{"01_a": SLOW}), random.Random(0)
    output = root / "build" / "a.ipynb"
    arguments = ("notebook", "01_a", "--output", str(output))
    assert pixellib(root, *arguments).returncode == 0
    calm = cells(output)
    output.unlink()
    for _ in range(5):
        start_and_kill(moments, 3.0, **command(root, *arguments))
        assert not output.exists(), "a notebook that did not run to its end is not there"
    assert pixellib(root, *arguments).returncode == 0
    assert cells(output) == calm
    survived("SIGKILL of a notebook", 5)


@pytest.mark.slow
def test_three_kills_of_the_graph(tmp_path, survived):
    notebooks = {"01_a": SLOW, "02_b": SLOW, "03_c": SLOW}
    root, moments = project(tmp_path / "a clone", **notebooks), random.Random(1)
    calm = tmp_path / "calm"
    shutil.copytree(root, calm)
    for _ in range(3):
        start_and_kill(moments, 8.0, **command(root, "figures", "--jobs", "2"))
    for folder in (root, calm):
        answer = pixellib(folder, "figures", "--jobs", "2")
        assert answer.returncode == 0, answer.stdout
    for path in sorted((calm / "build" / "reference").rglob("*")):
        found = root / path.relative_to(calm)
        if path.suffix == ".ipynb":
            assert cells(found) == cells(path)
        elif path.suffix in (".png", ".html", ".js", ".css"):
            assert found.read_bytes() == path.read_bytes()
    assert {path.name for path in (root / "figures").glob("*.png")} == {f"{name}_dot.png" for name in notebooks}
    survived("SIGKILL of a whole build", 3)


@pytest.mark.slow
def test_a_kill_of_snakemake_alone(clone, survived):
    """As when a connection breaks: its jobs go on, and the same command, once unlocked, does the rest."""
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "2", "--config", "profile=quick"]
    options = {"cwd": clone, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    options["env"] = os.environ | {"PYTHONPATH": str(clone)}
    first = subprocess.Popen([*snakemake, "--", *TARGETS], **options, start_new_session=True)
    wait_for(lambda: training(NAMES[0]), "the first job")
    time.sleep(2)
    first.kill()
    first.wait()
    refused = subprocess.run([*snakemake, "--", *TARGETS], **options, check=False)
    assert refused.returncode != 0 and "--unlock" in refused.stdout

    wait_for(lambda: not any(map(training, NAMES)), "the jobs that nobody waits for")
    done = [path for path in map(clone.joinpath, TARGETS) if path.exists()]
    states = [path.with_name("resume.pt") for path in done]
    before = [state.stat().st_mtime_ns for state in states]
    assert 0 < len(done) < len(TARGETS), "what ran went on, and what did not run was not begun"
    for call in (["--unlock"], ["--", *TARGETS]):
        again = subprocess.run([*snakemake, *call], **options, check=False)
        assert again.returncode == 0, again.stdout[-3000:]
    assert all((clone / path).exists() for path in TARGETS)
    assert [state.stat().st_mtime_ns for state in states] == before, "evaluated again, not trained again"
    survived("SIGKILL of snakemake alone")
