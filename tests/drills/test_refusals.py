"""Two hundred and more inputs that cannot be meant: each is refused in one clear line, never half-way through."""

import math
from itertools import chain

import pytest
import torch

from pixellib import Settings, data, evaluate
from pixellib.likelihoods import Categorical, DiscretizedLogistic, LogisticMixture
from pixellib.models import IWAE, VAE, GatedPixelCNN, LadderVAE, PixelCNN, PixelCNNpp, PixelVAE

COUNTS = (0, -1, 2.5, "3")
NUMBERS = (-1, math.nan, "a")
SETTINGS = {
    "steps": COUNTS, "batch_size": COUNTS, "accumulate": COUNTS, "warmup_steps": (-1, 2.5, "a"),
    "validate_every": (-1, 2.5, "a"), "learning_rate": (0, *NUMBERS, math.inf), "muon_lr": (0, *NUMBERS, math.inf),
    "max_grad_norm": (0, *NUMBERS), "decay": (0, 1.5, *NUMBERS), "eps": NUMBERS, "ema_decay": (1, *NUMBERS),
    "schedule": ("linear", 3, None), "precision": ("fp16", 3, None), "betas": ((0.9,), (0.9, 1.0), (-0.1, 0.9), 0.9),
}  # fmt: skip
NETWORK = {"channels": COUNTS, "num_filters": COUNTS, "size": ((0, 4), (4,), (4, 4, 4), (2.5, 4))}
MODELS = {
    PixelCNN: {"num_layers": COUNTS, "kernel_size": (1, 2, 2.5)},
    GatedPixelCNN: {"num_layers": COUNTS, "kernel_size": (1, 2, 2.5), "num_classes": COUNTS, "embedding": COUNTS},
    PixelCNNpp: {"num_resnets": COUNTS, "num_classes": COUNTS, "dropout": (-0.1, 1.0, math.nan)},
    PixelVAE: {"num_layers": COUNTS, "num_latents": (-1, 2.5, "3"), "free_bits": NUMBERS, "beta": NUMBERS},
    LadderVAE: {"num_latents": COUNTS, "num_layers": ([], [0], [2.5])},
}
LIKELIHOODS = {
    LogisticMixture: {
        "num_components": COUNTS, "tails": ("cut", None), "num_levels": (1, *COUNTS), "coupled": (1, "yes"),
        "min_log_scale": (math.nan, math.inf, "a"),
    },
    Categorical: {"num_levels": (1, *COUNTS)},
    DiscretizedLogistic: {"num_levels": (1, *COUNTS), "tails": ("cut", None)},
}  # fmt: skip
IMAGES = (
    torch.rand(2, 1, 8, 8), torch.zeros(2, 1, 8, dtype=torch.uint8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
    torch.zeros(0, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, 1, 8, 8, dtype=torch.bool),
)  # fmt: skip


def arguments(build, table, **others):
    for name, values in table.items():
        for value in values:
            yield pytest.param(lambda n=name, v=value: build(**others, **{n: v}), id=f"{build.__name__}-{name}-{value}")


def models():
    for family, table in MODELS.items():
        shapes = {k: v for k, v in NETWORK.items() if (family, k) != (LadderVAE, "num_filters")}
        yield from arguments(family, shapes | table)


def images():
    small = {"num_layers": 1, "num_filters": 4, "kernel_size": 3}
    for model in (GatedPixelCNN(1, (8, 8), **small), VAE(1, (8, 8), num_latents=(2,)), IWAE(1, (8, 8))):
        for x in IMAGES:
            name = f"{type(model).__name__}-{str(x.dtype).removeprefix('torch.')}-{tuple(x.shape)}"
            yield pytest.param(lambda model=model, x=x: evaluate(model, x, progress=False), id=name)
        for n in (0, -1, 2.5):
            yield pytest.param(lambda model=model, n=n: model.sample(n), id=f"{type(model).__name__}-sample-{n}")


def names():
    for name, split in (("mnits", "test"), ("mnist", "tset"), ("", "test"), (None, "test"), ("mnist", None)):
        yield pytest.param(lambda name=name, split=split: data.load(name, split), id=f"load-{name}-{split}")


CASES = list(
    chain(
        arguments(
            Settings, {k: v for k, v in SETTINGS.items() if k not in ("steps", "batch_size")}, steps=1, batch_size=1
        ),
        arguments(Settings, {"steps": SETTINGS["steps"]}, batch_size=1),
        arguments(Settings, {"batch_size": SETTINGS["batch_size"]}, steps=1),
        *(arguments(family, table) for family, table in LIKELIHOODS.items()),
        models(),
        images(),
        names(),
    )
)


def test_there_are_two_hundred_of_them():
    assert len(CASES) >= 200


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_meant_is_refused_in_one_line(case, survived):
    with pytest.raises((ValueError, TypeError)) as error:
        case()
    message = str(error.value)
    assert message and "\n" not in message and len(message) < 400
    survived("malformed input")
