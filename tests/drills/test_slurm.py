"""Three trainings of the sweep on a real Slurm of one node; one of them is killed, and done by the next call."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from throwaway import kill
from trainings import NAMES, TARGETS, training

from pixellib import checkpoints

needed = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("slurmctld"),
    reason="DID NOT RUN: needs root and Slurm (Debian: apt-get install slurm-wlm)",
)


def sweep(root: Path, folder: Path) -> subprocess.Popen:
    snakemake = [
        sys.executable, "-m", "snakemake", "--executor", "slurm", "--jobs", "3", "--config", "profile=quick",
        "--slurm-status-command", "squeue", "--slurm-no-account", "--slurm-init-seconds-before-status-checks", "5",
        "--", *TARGETS,
    ]  # fmt: skip
    script = Path(__file__).with_name("slurm.sh")
    return subprocess.Popen(
        ["unshare", "--mount", "bash", str(script), str(folder), *snakemake], cwd=root, text=True,
        env=os.environ | {"PYTHONPATH": str(root)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@needed
@pytest.mark.slow
def test_three_jobs_of_which_one_is_killed(clone, tmp_path, survived):
    first = sweep(clone, tmp_path / "slurm")
    deadline = time.monotonic() + 120
    while not training(NAMES[0]):
        assert time.monotonic() < deadline and first.poll() is None, "the job never began"
        time.sleep(0.1)
    time.sleep(2)
    kill(training(NAMES[0]))
    text, _ = first.communicate(timeout=600)
    record = clone / "build" / "runs" / NAMES[0] / "quick-seed0" / f"{NAMES[0]}.json"
    assert first.returncode != 0 and not record.exists(), text[-3000:]
    others = [record.parents[2] / name / "quick-seed0" / f"{name}.json" for name in NAMES[1:]]
    assert all(path.exists() for path in others), "the others are done all the same"
    before = [path.stat().st_mtime_ns for path in others]

    again = sweep(clone, tmp_path / "slurm")
    text, _ = again.communicate(timeout=600)
    assert again.returncode == 0, text[-3000:]
    assert [path.stat().st_mtime_ns for path in others] == before, "nothing is done twice"
    assert checkpoints.load(record.with_suffix(".safetensors"))
    survived("SIGKILL of a job of Slurm")
