"""The command that the README gives for two processes, on all of MNIST."""

import os
import subprocess
import sys
from pathlib import Path

from pixellib.series import runs


def test_the_command_of_the_readme_trains_on_two_processes(tmp_path):
    """torchrun -m pixellib train: one checkpoint, one record, numbers that one process confirms."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "pixellib", "train", "iwae-k1", "--profile", "quick"),
        ],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PIXELLIB_RUNS": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / "iwae-k1" / "quick-seed0"
    assert [path.name for path in folder.glob("*.safetensors")] == ["iwae-k1.safetensors"]
    assert (folder / "iwae-k1.json").exists() and (folder / "resume.pt").exists()
    assert not list(folder.rglob("*.tmp")) and len(list(folder.glob("tensorboard/*"))) == 1
    assert ended.stdout.count("iwae-k1 validation: ") == 1, "one of the two reports"

    run = runs.get("iwae-k1")
    model = run.load(folder / "iwae-k1.safetensors", "quick")
    settings = run.plan("quick").settings
    assert model.record["images_seen"] == settings.steps * settings.batch_size
    alone = run.evaluate(model, "validation", "quick", device="cpu")[0]
    shared = next(row for row in model.record["results"] if row["split"] == "validation")
    assert shared == alone and shared["log_likelihood"] > -150
