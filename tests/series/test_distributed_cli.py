"""The command that the README gives for two processes, on all of MNIST."""

import os
import subprocess
import sys
from pathlib import Path

from pixellib.series import runs


def train_on_two_processes(name, folder):
    """torchrun -m pixellib train NAME, in the quick profile, with trainings in that folder."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "pixellib", "train", name, "--profile", "quick"),
        ],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PIXELLIB_RUNS": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_command_of_the_readme_trains_on_two_processes(tmp_path):
    """One checkpoint, one record, numbers that one process confirms."""
    said = train_on_two_processes("iwae-k1", tmp_path)
    folder = tmp_path / "iwae-k1" / "quick-seed0"
    assert [path.name for path in folder.glob("*.safetensors")] == ["iwae-k1.safetensors"]
    assert (folder / "iwae-k1.json").exists() and (folder / "resume.pt").exists()
    assert not list(folder.rglob("*.tmp")) and len(list(folder.glob("tensorboard/*"))) == 1
    assert said.count("iwae-k1 validation: ") == 1, "one of the two reports"

    run = runs.get("iwae-k1")
    model = run.load(folder / "iwae-k1.safetensors", "quick")
    settings = run.plan("quick").settings
    assert model.record["images_seen"] == settings.steps * settings.batch_size
    alone = run.evaluate(model, "validation", "quick", device="cpu")[0]
    shared = next(row for row in model.record["results"] if row["split"] == "validation")
    assert shared == alone and shared["log_likelihood"] > -150


def test_two_processes_first_train_what_gives_the_run_its_codes(tmp_path):
    """Both train it together. If one waited for the other to finish it, neither would ever go on."""
    train_on_two_processes("permuted-codes-mnist-softmax-scrambled", tmp_path)
    trained = {path.parent.parent.name for path in tmp_path.rglob("*.safetensors")}
    assert trained == {"vqvae-mnist", "permuted-codes-mnist-softmax-scrambled"}
