"""What a head costs: the network of notebook 10 with mixtures of logistics, against the same network with a softmax."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pixellib.likelihoods import Categorical, LogisticMixture
from pixellib.series import runs
from pixellib.series.catalogue.arms import truncated

_RUN = runs.get("permuted-grey-softmax-scrambled")
SOFTMAX = Categorical()
MIXTURES = {"censored": LogisticMixture(), "truncated": truncated()}
MIXTURES |= {f"truncated, K = {num}": truncated(num) for num in (1, 85, 256)}


def network(head):
    return replace(_RUN, options={**_RUN.options, "likelihood": head}).build()


def symbols():
    return torch.randint(256, (16, 1, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def step(model):
    model.loss(symbols()).backward()


def memory(kind):
    """MB of this process: VmRSS, what it holds now, or VmHWM, the most that it ever held. (Linux; `resource` would give
    the peak of the parent where that was higher.)
    """
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[kind].split()[0]) * 1024 / 1e6


def memory_of_a_step(head):
    """MB that a step takes at its peak, beside the model and all libraries, in a process that does nothing else."""
    model = network(head)
    symbols()
    before = memory("VmRSS")
    step(model)
    return memory("VmHWM") - before


@pytest.mark.parametrize("head", MIXTURES)
def test_training(compare, head):
    ours, softmax = network(MIXTURES[head]), network(SOFTMAX)
    row = compare(f"head of notebook 10, {head}: loss, gradient", lambda: step(ours), lambda: step(softmax), rounds=9)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as alone:
        ours, softmax = (alone.apply(memory_of_a_step, (each,)) for each in (MIXTURES[head], SOFTMAX))
    row["megabytes"] = {"mixture": round(ours), "softmax": round(softmax)}
    row["note"] = f"a step takes {ours:.0f} MB against {softmax:.0f} MB, beside the model and libraries"


@pytest.mark.parametrize("head", ["censored", "truncated"])
def test_sampling(compare, head):
    ours, softmax = network(MIXTURES[head]).eval(), network(SOFTMAX).eval()
    name = f"head of notebook 10, {head}: sampling 64 images, 32 x 32"
    compare(name, lambda: ours.sample(64), lambda: softmax.sample(64), rounds=3, warm_up=1)
