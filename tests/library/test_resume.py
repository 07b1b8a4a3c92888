"""A training killed with SIGKILL at any moment and started again ends in the same bytes as one left alone.

Real processes, real kills, real digits. The processes are forked off a server that has imported torch already, since
importing it takes longer than these trainings.
"""

import multiprocessing
import os
import random
import signal
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
    steps=STEPS, batch_size=40, learning_rate=3e-3, schedule="cosine", warmup_steps=20, ema_decay=0.99,
    max_grad_norm=50.0, accumulate=2, validate_every=80,
)  # fmt: skip
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pixellib.training", "torch._dynamo", "torch.utils.tensorboard"])


class Dotted(IWAE):
    """Writes a dot for every batch it is trained on, so that a test can tell what each process did."""

    _dots = -1  # not public, so no part of what the training is

    def loss(self, x, condition=None):
        os.write(self._dots, b".")
        return super().loss(x, condition)


def train(folder: Path, save_every: float, die_writing: int | None = None) -> None:
    """A training in a process of its own. die_writing: be killed when that state is half-way to the disk."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a program started in the background ignores
    if die_writing:
        save, calls = torch.save, iter(range(1, 10**6))

        def save_or_die(state, file):
            save(state, file)
            if next(calls) == die_writing:
                file.flush()
                os.truncate(file.name, os.path.getsize(file.name) // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        torch.save = save_or_die
    digits = data.load("mnist", "train")[0][:2000]
    validation = binarise(digits[:200], torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = Dotted(num_latents=(8,), num_hidden=(32,), num_samples=3)
    with open(folder / f"dots-{os.getpid()}", "wb") as dots:
        model._dots = dots.fileno()
        training = fit(
            model, digits, SETTINGS, validation=validation, transform=binarise, unit="nats", device="cpu",
            folder=folder, save_every=save_every, progress=False,
        )  # fmt: skip
    history = [{key: value for key, value in row.items() if key != "seconds"} for row in training.history]
    checkpoints.save(folder / "final.safetensors", training.model.state_dict(), {"history": history})


def start(folder: Path, save_every: float, die_writing: int | None = None):
    folder.mkdir(exist_ok=True)
    process = PROCESSES.Process(target=train, args=(folder, save_every, die_writing))
    process.start()
    return process


def steps_taken(process, folder: Path) -> int:
    return (folder / f"dots-{process.pid}").stat().st_size // SETTINGS.accumulate


def kept(folder: Path) -> int:
    """The step that a new start would go on from."""
    state = checkpoints.load_resume(folder / "resume.pt")
    return 0 if state is None else state["step"]


def finish(folder: Path, save_every: float) -> bytes:
    """Train to the end, checking that what had been kept was not done again; the bytes of the result."""
    before = kept(folder)
    process = start(folder, save_every)
    process.join(300)
    assert process.exitcode == 0
    assert steps_taken(process, folder) == STEPS - before
    return (folder / "final.safetensors").read_bytes()


def train_and_kill(folder: Path, save_every: float, moments: random.Random, last: int) -> None:
    """Let it get on by some steps, at most to step `last`, then kill it a little later, wherever it then is."""
    before = kept(folder)
    target = moments.randint(before + 1, max(before + 1, last))
    process = start(folder, save_every)
    while kept(folder) < target:
        assert process.is_alive(), "it ended before it could be killed"
        time.sleep(0.01)
    time.sleep(moments.uniform(0, 0.01))
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL and before < kept(folder) < STEPS, "it was to be killed half-way"
    assert steps_taken(process, folder) < STEPS


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The final bytes of a training that nobody disturbed, and that saved at its end only."""
    return finish(tmp_path_factory.mktemp("alone"), save_every=1e9)


def drill(folder: Path, save_every: float, num_kills: int, seed: int) -> bytes:
    moments = random.Random(seed)
    for kill in range(1, num_kills + 1):
        train_and_kill(folder, save_every, moments, last=(STEPS - 60) * kill // num_kills)
    return finish(folder, save_every)


@pytest.mark.parametrize("save_every", [0, 0.05])
def test_killed_at_random_moments_it_ends_in_the_same_bytes(alone, tmp_path, save_every):
    """Saving at every step, and now and then, so that the steps since have to be done again."""
    assert drill(tmp_path, save_every, num_kills=3, seed=1) == alone


def test_killed_in_the_middle_of_a_write_it_goes_on_from_the_state_before(alone, tmp_path):
    """The worst moment: half of the new state is on the disk. The old one is still whole."""
    process = start(tmp_path, save_every=0, die_writing=31)
    process.join(300)
    assert process.exitcode == -signal.SIGKILL and kept(tmp_path) == 30
    assert finish(tmp_path, save_every=0) == alone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_keeps_every_step_it_has_taken_and_then_stops(alone, tmp_path, number):
    process = start(tmp_path, save_every=1e9)
    dots = tmp_path / f"dots-{process.pid}"
    while not dots.exists() or dots.stat().st_size < 20:
        assert process.is_alive(), "it ended before it could be asked"
        time.sleep(0.01)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == (-number if number == signal.SIGTERM else 1), "as without a handler of ours"
    assert 0 < kept(tmp_path) == steps_taken(process, tmp_path) < STEPS
    assert finish(tmp_path, save_every=1e9) == alone


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("save_every", [0, 0.05])
def test_killed_many_times_it_ends_in_the_same_bytes(alone, tmp_path, save_every, seed):
    assert drill(tmp_path, save_every, num_kills=10, seed=seed) == alone
