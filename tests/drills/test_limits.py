"""Where memory, disk or network end, and where two builds meet."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from throwaway import FIGURE, command, pixellib, project

from pixellib.series import paths

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="DID NOT RUN: only root may mount, or leave the network")


@pytest.mark.slow
def test_a_kernel_that_needs_more_memory_than_there_is_fails_with_its_notebook(tmp_path, survived):
    root = project(tmp_path / "a clone", **{"01_a": [FIGURE, "block = bytearray(8 * 2**30)"], "02_b": [FIGURE]})

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))

    answer = subprocess.run(
        **command(root, "figures", "--jobs", "1"), preexec_fn=limit, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )  # fmt: skip
    assert answer.returncode != 0 and "MemoryError" in answer.stdout
    assert not (root / "build" / "reference" / "notebooks" / "01_a.ipynb").exists()
    assert (root / "build" / "reference" / "notebooks" / "02_b.ipynb").exists(), "the other one is made all the same"
    survived("memory exhausted")


@pytest.mark.slow
def test_two_builds_at_once_make_everything_once(tmp_path, survived):
    root = project(tmp_path / "a clone", **{"01_a": [FIGURE], "02_b": [FIGURE]})
    both = [subprocess.Popen(**command(root, "figures", "--jobs", "1"), stdout=subprocess.PIPE) for _ in range(2)]
    texts = [build.communicate(timeout=600)[0] for build in both]
    assert [build.returncode for build in both] == [0, 0]
    done = [line for text in texts for line in text.splitlines() if ": done in" in line]
    assert len(done) == 2, "each notebook ran once"
    survived("two builds at once")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["with spaces and an apostrophe's", "Größe 图 é"])
def test_a_path_with_odd_characters(name, tmp_path, survived):
    root = project(tmp_path / name, **{"01_a": [FIGURE]})
    answer = pixellib(root, "figures", "--jobs", "1")
    assert answer.returncode == 0, answer.stdout
    assert (root / "figures" / "01_a_dot.png").exists()
    survived("path with odd characters")


@pytest.mark.slow
@ROOT_ONLY
def test_a_full_disk_ends_a_training_in_one_line_and_spoils_nothing(tmp_path, survived):
    train = [sys.executable, "-m", "pixellib", "train", "iwae-k1", "--profile", "quick", "--device", "cpu"]
    script = 'mount -t tmpfs -o size=300k tmpfs "$0" && exec "$@"'
    disk = tmp_path / "disk"
    disk.mkdir()
    answer = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(disk), *train], cwd=paths.ROOT, capture_output=True, text=True,
        env=os.environ | {"PIXELLIB_RUNS": str(disk)},
    )  # fmt: skip
    last = answer.stderr.strip().splitlines()[-1]
    assert answer.returncode == 1 and last.startswith("pixellib: ") and "No space left on device" in last
    survived("full disk")


@pytest.mark.slow
@ROOT_ONLY
def test_a_notebook_runs_without_a_network(tmp_path, survived):
    out = tmp_path / "01.ipynb"
    script = 'ip link set lo up 2> /dev/null; exec "$0" "$@"'
    answer = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, sys.executable, "-m", "pixellib", "notebook", "03_logistic_vae",
         "--profile", "quick", "--output", str(out), "-p", f"figures_dir={tmp_path / 'figures'}"],
        cwd=paths.ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert list(Path(tmp_path / "figures").glob("*.png"))
    survived("no network")
