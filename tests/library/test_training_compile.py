"""`fit(compile=True)`: the same training within rounding, which resumes, or a plain word about compilers."""

import shutil

import pytest
import torch

from pixellib.models import IWAE, GatedPixelCNN
from pixellib.training import Settings, fit

SETTINGS = Settings(steps=6, batch_size=4, muon_lr=0.02, precision="fp32")
IMAGES = torch.randint(256, (12, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
needs_compiler = pytest.mark.skipif(not shutil.which("g++") and not shutil.which("clang++"), reason="no C++ compiler")


class Stop(Exception):
    pass


class Limited:
    """A transform that ends the training when it is asked for one batch too many."""

    def __init__(self, allowed: int):
        self.allowed = allowed

    def __call__(self, x, generator):
        if not self.allowed:
            raise Stop
        self.allowed -= 1
        return x

    def __repr__(self):
        return "Limited"


def weights(build, compile, folder=None, allowed=100):
    """After a training, which goes on where one in the folder was stopped."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
    training = fit(
        model, IMAGES, SETTINGS, transform=Limited(allowed), compile=compile, folder=folder, save_every=0.0,
        device="cpu", progress=False,
    )  # fmt: skip
    return training.model.state_dict()


@needs_compiler
def test_a_compiled_training_is_the_same_within_rounding():
    def build():
        return GatedPixelCNN(num_layers=1, num_filters=4, kernel_size=3)

    plain, compiled = weights(build, False), weights(build, True)
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, atol=2e-4, rtol=1e-3)


@needs_compiler
def test_a_compiled_training_is_resumed_to_the_byte(tmp_path):
    """Of a model that draws noise in its loss."""

    def build():
        return IWAE(num_latents=(2,), num_hidden=(4,))

    whole = weights(build, True, tmp_path / "whole")
    with pytest.raises(Stop):
        weights(build, True, tmp_path / "cut", allowed=3)
    resumed = weights(build, True, tmp_path / "cut")
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_without_a_compiler_that_is_said(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="needs a C\\+\\+ compiler"):
        weights(lambda: IWAE(num_latents=(2,), num_hidden=(4,)), True)
