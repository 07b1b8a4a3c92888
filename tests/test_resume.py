"""A training killed with SIGKILL at any moment and started again ends in the same bytes as one left alone.

Real processes, real kills, real digits. Started as a script, this file is the training: FOLDER SAVE_EVERY [DIE_WRITING].
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pixellib import checkpoints, data
from pixellib.data import binarise
from pixellib.models import IWAE
from pixellib.training import Settings, fit

STEPS = 240
SETTINGS = Settings(
    steps=STEPS, batch_size=40, learning_rate=3e-3, schedule="cosine", warmup_steps=20, average=0.99, clip=50.0,
    accumulate=2, validate_every=80,
)  # fmt: skip


class Counted(IWAE):
    """Writes a dot for every batch it is trained on, so that a test can tell what each process did."""

    def loss(self, x, condition=None):
        os.write(1, b".")
        return super().loss(x, condition)


def train(folder: Path, save_every: float) -> None:
    torch.set_num_threads(1)
    digits = data.load("mnist", "train")[0][:2000]
    torch.manual_seed(0)
    model = Counted(num_latents=(8,), num_hidden=(32,), num_samples=3)
    training = fit(
        model, digits, SETTINGS, validation=binarise(digits[:200], torch.Generator().manual_seed(0)), transform=binarise,
        unit="nats", device="cpu", folder=folder, save_every=save_every, progress=False,
    )  # fmt: skip
    history = [{key: value for key, value in row.items() if key != "seconds"} for row in training.history]
    checkpoints.save(folder / "final.safetensors", training.model.state_dict(), {"history": history})


def die_while_writing(number: int) -> None:
    """Let the process be killed when half of the resume state is on the disk, the number-th time it is written."""
    save, calls = torch.save, iter(range(1, 10**6))

    def save_or_die(state, path):
        save(state, path)
        if next(calls) == number:
            os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save_or_die


def start(folder: Path, save_every: float, *arguments: int) -> subprocess.Popen:
    command = [sys.executable, __file__, str(folder), str(save_every), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})


def finish(process: subprocess.Popen) -> int:
    """Wait for the training's end; how many steps this process took."""
    dots, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return len(dots) // SETTINGS.accumulate


def kept(folder: Path) -> int:
    """The step that a new start would go on from."""
    state = checkpoints.load_resume(folder / "resume.pt")
    return 0 if state is None else state["step"]


def kill_at(process: subprocess.Popen, folder: Path, step: int, delay: float) -> None:
    """SIGKILL once the kept state has reached a step, and a little later, wherever the training then is."""
    while kept(folder) < step:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was to be killed half-way"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The final bytes of a training that nobody disturbed, and that never saved before its end."""
    folder = tmp_path_factory.mktemp("alone")
    assert finish(start(folder, 1e9)) == STEPS
    return (folder / "final.safetensors").read_bytes()


def drill(folder: Path, save_every: float, num_kills: int, seed: int) -> bytes:
    """Train with kills at random moments, checking that each came half-way and that each start went on."""
    moments, reached = random.Random(seed), 0
    for kill in range(num_kills):
        process = start(folder, save_every)
        span = (STEPS - 40 - reached) // (num_kills - kill)
        kill_at(process, folder, reached + moments.randint(1, max(1, span)), moments.uniform(0, 0.02))
        assert reached < kept(folder) < STEPS
        reached = kept(folder)
    assert finish(start(folder, save_every)) == STEPS - reached, "the last process did the rest, and only that"
    return (folder / "final.safetensors").read_bytes()


def test_killed_at_random_moments_it_ends_in_the_same_bytes(alone, tmp_path):
    assert drill(tmp_path, save_every=0, num_kills=3, seed=1) == alone


def test_killed_in_the_middle_of_a_write_it_goes_on_from_the_state_before(alone, tmp_path):
    """The worst moment: half of the new state is on the disk. The old one is still whole."""
    process = start(tmp_path, 0, 31)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert kept(tmp_path) == 30
    assert finish(start(tmp_path, 0)) == STEPS - 30
    assert (tmp_path / "final.safetensors").read_bytes() == alone


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("save_every", [0, 0.05])
def test_killed_many_times_it_ends_in_the_same_bytes(alone, tmp_path, save_every, seed):
    assert drill(tmp_path, save_every, num_kills=8, seed=seed) == alone


if __name__ == "__main__":
    if len(sys.argv) > 3:
        die_while_writing(int(sys.argv[3]))
    train(Path(sys.argv[1]), float(sys.argv[2]))
