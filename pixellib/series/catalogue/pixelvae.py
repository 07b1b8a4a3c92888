"""Notebook 08: a latent above a PixelCNN, the same PixelCNN without it, and when the latent falls silent."""

from collections.abc import Mapping
from dataclasses import replace

from pixellib.likelihoods import Bernoulli, Categorical, LogisticMixture
from pixellib.models import GatedPixelCNN, ImageModel, PixelVAE
from pixellib.series.catalogue.common import COMPARED, EMBEDDED, FAST, SHAPES, SLOW, paper, quick
from pixellib.series.run import Plan, Run
from pixellib.training import Settings

_SMALL = {"num_layers": 2, "num_filters": 8, "kernel_size": 3, "dilations": None}


def _settings(steps: int, **changes) -> Settings:
    usual = {"batch_size": 16, **FAST, "warmup_steps": 200, "schedule": "cosine"}
    return Settings(**{"steps": steps, **usual, "max_grad_norm": 100.0, "validate_every": steps // 10, **changes})


def _run(
    name: str, title: str, settings: Settings, dataset: str = "mnist", binarised: bool = False,
    family: type[ImageModel] = PixelVAE, num_samples: int | None = 16, start: Run | None = None,
    compared: Mapping | None = None, **options,
) -> Run:  # fmt: skip
    """Options: of the model. compared: of the plan, for one of many trainings that are compared, with three seeds."""
    small = _SMALL
    if family is PixelVAE:
        small = {**_SMALL, "num_latents": min(4, options.get("num_latents", 4))}
    return Run(
        name=name,
        title=title,
        dataset=dataset,
        family=family,
        options={**SHAPES[dataset], **options},
        plans={
            "quick": Plan(
                quick(settings), options=small, dataset=EMBEDDED[dataset], num_test=40, num_validation=40,
                num_samples=num_samples and 10,
            ),
            "reference": Plan(
                settings, start=start, num_samples=num_samples,
                **({"num_validation": 1000} | (compared or {})),
            ),
            "paper": Plan(paper(settings), num_samples=num_samples and 100),
        },
        unit="nats" if binarised else "bits",
        binarised=binarised,
        seeds=3 if compared else 1,
        ships=not compared,
    )  # fmt: skip


def _deep(
    num_layers: int, name: str = "", title: str = "", family: type[ImageModel] = PixelVAE,
    settings: Settings | None = None, **options,
) -> Run:  # fmt: skip
    """On binarised digits, with a PixelCNN of so many layers: short, to be compared with others."""
    latent, layers = family is PixelVAE, f"{num_layers} layer{'s' * (num_layers > 1)}"
    return _run(
        f"{'pixelvae' if latent else 'gated'}-binary-{num_layers}{name}",
        f"{'PixelVAE' if latent else 'Gated PixelCNN'}, {layers}{title}",
        settings or _settings(2_000), binarised=True, family=family, compared=COMPARED,
        **{"num_samples": 20 if latent else None, "num_layers": num_layers, "num_filters": 24, "kernel_size": 3,
           "likelihood": Bernoulli(), **options},
    )  # fmt: skip


def _long(name: str = "", title: str = "", **options) -> Run:
    """The network of four layers, six times as long."""
    return _run(
        f"pixelvae-binary{name}", f"PixelVAE, 4 layers{title}, long training", _settings(12_000, **SLOW),
        binarised=True, num_layers=4, num_filters=24, kernel_size=3, likelihood=Bernoulli(),
        **{"num_samples": 8, **options},
    )  # fmt: skip


_DEPTHS = (1, 2, 4, 8)
_WITHOUT = [_deep(depth, "-without", ", no latent", num_latents=0, num_samples=None) for depth in _DEPTHS]
_DEEPEST = _deep(8)
_LIGHT = _deep(8, "-light", ", a tenth of the KL divergence", beta=0.1, num_samples=None)
# A trained network is moved by a quarter: the usual rates undo what was learned, and end two nats worse.
_AGAIN = _settings(2_000, learning_rate=2e-3, muon_lr=0.005)
_CURES = [
    _deep(8, "-free-bits", ", 10 nats free", free_bits=10.0),
    _LIGHT,
    _deep(8, "-two-stages", ", a tenth of the KL divergence first, then all of it", settings=_AGAIN, start=_LIGHT),
    _deep(8, "-continued", ", trained twice as long", settings=_AGAIN, start=_DEEPEST),
    _deep(
        8, "-without-continued", ", no latent, trained twice as long", settings=_AGAIN, start=_WITHOUT[-1],
        num_latents=0, num_samples=None,
    ),
]  # fmt: skip

RUNS = [
    *(_deep(depth) for depth in _DEPTHS),
    *_WITHOUT,
    *(_deep(depth, family=GatedPixelCNN) for depth in _DEPTHS),
    *(replace(run, seeds=2) for run in _CURES),
    _long(),
    _long("-without", ", no latent", num_latents=0, num_samples=None),
    _run(
        "pixelvae-mnist", "PixelVAE", _settings(5_000), num_layers=4, num_filters=32, kernel_size=3, embedding=16,
        free_bits=20.0, likelihood=Categorical(), num_samples=2,
    ),
    _run(
        "pixelvae-cifar10", "PixelVAE", _settings(5_000, **SLOW), "cifar10", num_layers=4, num_filters=32,
        kernel_size=3, embedding=16, num_latents=8, spatial=True, likelihood=LogisticMixture(), num_samples=2,
    ),
]  # fmt: skip
