"""A run of a second or less."""

import pytest
from tiny_run import QUICK

from pixellib import data
from pixellib.models import IWAE
from pixellib.series import paths, runs
from pixellib.series.run import Plan, Run


@pytest.fixture(scope="module")
def few():
    """160 real images of each split."""
    return {split: tuple(part[:160] for part in data.load("mnist", split)) for split in data.SPLITS}


@pytest.fixture
def tiny(few, tmp_path, monkeypatch):
    """A run of a second or less, registered and working in a folder of its own."""
    run = Run(
        name="tiny",
        title="a run of six steps",
        dataset="mnist",
        family=IWAE,
        options={"num_latents": (3,), "num_hidden": (8,), "num_samples": 2},
        plans={
            "quick": Plan(QUICK, num_test=50, num_validation=50, num_samples=10),
            "reference": Plan(QUICK, options={"num_latents": (4,)}, num_samples=10),
        },
        unit="nats",
        binarised=True,
    )
    for name in ("WORK", "CHECKPOINTS", "RESULTS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    monkeypatch.setitem(runs.RUNS, "tiny", run)
    monkeypatch.setattr(data, "load", lambda name, split: few[split])
    return run
