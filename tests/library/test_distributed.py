"""Two processes do the work of one: the same weights, the same estimate, every image counted once, one set of files.

Real ones, started by torchrun. Started that way, with a folder, this file is the work that they do.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from pixellib import checkpoints, data, files
from pixellib.devices import process_group
from pixellib.evaluation import evaluate
from pixellib.models import IWAE
from pixellib.training import Settings, fit

SETTINGS = Settings(
    steps=6, batch_size=20, accumulate=2, max_grad_norm=1.0, ema_decay=0.5, precision="fp32", validate_every=3
)
PARTS_OF_A_SET = [
    (53, 10),
    (60, 10),
    (7, 10),
    (41, 1),
]  # images and batch size; two processes share 6, 6, 1, 41 batches


class NoiseOfTheImage(IWAE):
    """An IWAE whose noise is a function of the image, so that it does not matter who meets it, and in which batch."""

    num_seen = 0

    def log_prob(self, x, condition=None):
        self.num_seen += len(x) * self.training
        generators = [torch.Generator().manual_seed(int(image.long().sum())) for image in x]
        log_w = [self.log_weights(x[i : i + 1], 3, generator) for i, generator in enumerate(generators)]
        return torch.cat(log_w, 1).logsumexp(0)


class DiesAtItsThirdStep(IWAE):
    calls = 0

    def loss(self, x, condition=None):
        self.calls += 1
        if self.calls == 3 and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(x, condition)


def digits() -> torch.Tensor:
    return (data.load("mnist", "validation")[0][:100] > 127).byte() * 255


def work(folder: Path) -> dict:
    """A training and some evaluations, in float64; what they gave."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, images = NoiseOfTheImage(num_latents=(4,), num_hidden=(16,)).double(), digits()
    training = fit(
        model, images, SETTINGS, validation=images[:33], unit="nats", device="cpu", folder=folder, save_every=0
    )
    plain = IWAE(num_latents=(4,), num_hidden=(16,))
    plain.load_state_dict(training.model.state_dict())
    return {
        "trained": model.state_dict(),
        "averaged": training.model.state_dict(),
        "images seen": model.num_seen,
        "validation": [row["validation_nats"] for row in training.history],
        "training": [row["train_nats"] for row in training.history],
        "per image": [
            evaluate(plain, images[:num_images], num_samples=7, batch_size=batch_size, device="cpu").per_image
            for num_images, batch_size in PARTS_OF_A_SET
        ],
    }


def torchrun(*command, **environment) -> subprocess.CompletedProcess:
    """Two processes on this machine, on a port that is free."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, command)],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Where two processes worked, and how their command ended; in the last training one of them is killed."""
    folder = tmp_path_factory.mktemp("two")
    return folder, torchrun(__file__, folder)


def test_two_processes_train_to_the_weights_of_one(two, tmp_path):
    """Each takes half of every part of every batch; gradients are averaged before they are clipped and used."""
    folder, ended = two
    assert (folder / "0.pt").exists() and (folder / "1.pt").exists(), ended.stderr
    first, second = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    alone = work(tmp_path)
    torch.manual_seed(0)
    start = NoiseOfTheImage(num_latents=(4,), num_hidden=(16,)).double().state_dict()
    assert first["images seen"] == second["images seen"] == alone["images seen"] / 2 == 60
    for weights in ("trained", "averaged"):
        assert all(torch.equal(first[weights][name], t) for name, t in second[weights].items())
        torch.testing.assert_close(first[weights], alone[weights], atol=1e-8, rtol=0)
    moved = [(t - start[name]).abs().max() for name, t in alone["averaged"].items() if t.is_floating_point()]
    assert min(moved) > 1e-3, "weights that never moved would agree too"
    for losses in ("validation", "training"):  # that of the training over all processes
        assert first[losses] == second[losses] == pytest.approx(alone[losses], abs=1e-4)


def test_two_processes_estimate_what_one_does(two):
    """No image is dropped, none counted twice, and the noise is that of the batch, not of the process: equal bits."""
    folder, _ = two
    for rank in (0, 1):
        shared = torch.load(folder / f"{rank}.pt", weights_only=True)
        model = IWAE(num_latents=(4,), num_hidden=(16,))
        model.load_state_dict(shared["averaged"])
        for (num_images, batch_size), per_image in zip(PARTS_OF_A_SET, shared["per image"], strict=True):
            alone = evaluate(model, digits()[:num_images], num_samples=7, batch_size=batch_size, device="cpu")
            assert torch.equal(per_image, alone.per_image) and (per_image < 0).all()


def test_only_the_first_process_writes(two):
    folder, _ = two
    found = {path.name for path in (folder / "training").iterdir()} - {".lock"}
    assert found <= {"resume.pt", "tensorboard"} and "resume.pt" in found
    if "tensorboard" in found:  # where it is installed
        assert len(list((folder / "training" / "tensorboard").iterdir())) == 1
    assert checkpoints.load_resume(folder / "training" / "resume.pt")["step"] == 6


def test_when_one_process_dies_the_command_fails_instead_of_waiting(two):
    """The survivor waits for gradients that never come; torchrun ends it, and says which one was killed."""
    folder, ended = two
    assert (folder / "1.pt").exists(), "it died before its time"
    assert ended.returncode != 0
    assert "SIGKILL" in ended.stderr
    assert not (folder / "survived").exists()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    with process_group() as rank:
        files.write_atomically(target / f"{rank}.pt", lambda path: torch.save(work(target / "training"), path))
        fit(DiesAtItsThirdStep(), digits(), SETTINGS, device="cpu", progress=False)
        (target / "survived").touch()
