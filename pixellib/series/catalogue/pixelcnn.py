"""Notebooks 06 and 07: PixelCNN and Gated PixelCNN."""

from dataclasses import replace

from pixellib.likelihoods import Bernoulli
from pixellib.models import GatedPixelCNN, ImageModel, PixelCNN
from pixellib.series.catalogue.common import EMBEDDED, FAST, SHAPES, paper, quick
from pixellib.series.run import Plan, Run
from pixellib.training import Settings

_DESIGN = {"num_layers": 7, "num_filters": 48, "kernel_size": 3, "dilations": [1, 2, 1, 4, 1, 2, 1], "embedding": 16}


def _settings(steps: int, **changes) -> Settings:
    usual = {"batch_size": 16, "learning_rate": 4e-3, "warmup_steps": 200, "schedule": "cosine", "max_grad_norm": 1.0}
    return Settings(**{"steps": steps, **usual, "validate_every": steps // 10, **changes})


def _run(family: type[ImageModel], name: str, title: str, settings: Settings, dataset: str = "mnist", **options) -> Run:
    """Options: of the model. The quick profile trains a small one on embedded images."""
    small = {"num_layers": 3, "num_filters": 18, "kernel_size": 3}
    if "dilations" in options:
        small["dilations"] = [1, 2, 1]
    return Run(
        name=name,
        title=title,
        dataset=dataset,
        family=family,
        options={**SHAPES[dataset], **options},
        plans={
            "quick": Plan(
                quick(settings), options=small, dataset=EMBEDDED[dataset], num_test=100, num_validation=100
            ),
            "reference": Plan(settings, num_validation=1000),
            "paper": Plan(paper(settings)),
        },
    )  # fmt: skip


def _trial(name: str, title: str, steps: int = 640, rates: dict | None = None, **options) -> Run:
    """A short training, looked at on validation images only, that served to choose the settings of `gated-mnist`. The
    steps of all trials take about equally long.
    """
    settings = _settings(steps, **{"learning_rate": 2e-3, **(rates or {})}, validate_every=steps // 4)
    run = _run(GatedPixelCNN, f"gated-mnist-try-{name}", title, settings, **{**_DESIGN, **options})
    plans = {**run.plans, "reference": Plan(settings, num_validation=2000)}
    return replace(run, plans=plans, evaluate_on=("validation",), ships=False)


_FIVE = {"num_layers": 5, "num_filters": 30, "kernel_size": 5}
_NINE = {"num_layers": 9, "num_filters": 63, "kernel_size": 5}
_COLOUR = {"dataset": "cifar10", "num_filters": 30, "kernel_size": 5, "embedding": 16}

RUNS = [
    _run(PixelCNN, "pixelcnn-mnist-5x30", "PixelCNN, 5 layers of 30", _settings(3_000), **_FIVE),
    _run(PixelCNN, "pixelcnn-mnist-9x63", "PixelCNN, 9 layers of 63", _settings(800), **_NINE),
    _run(GatedPixelCNN, "gated-mnist-5x30", "Gated PixelCNN, 5 layers of 30", _settings(3_000), **_FIVE),
    _run(GatedPixelCNN, "gated-mnist-9x63", "Gated PixelCNN, 9 layers of 63", _settings(800), **_NINE),
    _trial("base", "as planned"),
    _trial("scalar", "levels as numbers", embedding=None),
    _trial("rate", "twice the learning rate", rates={"learning_rate": 4e-3}),
    _trial("rate4", "four times the learning rate", rates={"learning_rate": 8e-3}),
    _trial("muon", "four times the learning rate, kernels moved by Muon", rates=FAST),
    _trial("average", "weights not averaged", rates={"ema_decay": None}),
    _trial("wide", "64 features", steps=380, num_filters=64),
    _trial("dilation", "not dilated", dilations=None),
    replace(
        _run(
            GatedPixelCNN, "gated-mnist", "Gated PixelCNN, our design", _settings(4_000, **FAST),
            **{**_DESIGN, "num_filters": 64},
        ),
        anchor=(0.808, "a Gated PixelCNN, UvA deep learning tutorial 12, 150 epochs on a GPU"),
    ),
    _run(
        GatedPixelCNN, "gated-mnist-class", "Gated PixelCNN, given the digit", _settings(3_000),
        num_classes=10, **_DESIGN,
    ),
    replace(
        _run(
            GatedPixelCNN, "pixelcnn-binary", "Gated PixelCNN, Bernoulli", _settings(4_000),
            likelihood=Bernoulli(), **_DESIGN,
        ),
        unit="nats", binarised=True, anchor=(81.30, "van den Oord et al. 2016, one fixed binarisation"),
    ),
    replace(
        _run(
            GatedPixelCNN, "gated-cifar10-12x30", "Gated PixelCNN, 12 layers of 30", _settings(1_200, **FAST),
            num_layers=12, **_COLOUR,
        ),
        anchor=(3.03, "van den Oord et al. 2016"),
    ),
    _run(
        GatedPixelCNN, "gated-cifar10-class", "Gated PixelCNN, given the class", _settings(2_000, **FAST),
        num_layers=5, num_classes=10, **_COLOUR,
    ),
]  # fmt: skip
