"""What tests do with the run of `conftest.tiny`: train it, change it, interrupt it."""

import dataclasses

import torch

from pixellib.training import Settings

QUICK = Settings(steps=6, batch_size=20, ema_decay=0.5, validate_every=3)
FILES = {"tiny.safetensors", "tiny.json"}  # what a finished training leaves, besides the state it went on from


def train(run, profile="quick", evaluate_on=("train", "validation", "test"), **kwargs):
    return dataclasses.replace(run, evaluate_on=evaluate_on).train(profile, progress=False, device="cpu", **kwargs)


def changed(run, profile="quick", **changes):
    """The run with another plan for a profile."""
    return dataclasses.replace(run, plans={**run.plans, profile: dataclasses.replace(run.plan(profile), **changes)})


def weights(model):
    return torch.cat([t.flatten() for t in model.state_dict().values()])


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt
