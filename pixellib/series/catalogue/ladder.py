"""Notebooks 01 and 04: ladders of stochastic layers, on binarised digits and on colours."""

from collections.abc import Mapping

from pixellib.likelihoods import LogisticMixture
from pixellib.models import LadderVAE
from pixellib.series.catalogue.common import EMBEDDED, SHAPES, paper, quick
from pixellib.series.run import Plan, Run
from pixellib.training import Settings


def _ladder(
    name: str, title: str, dataset: str, settings: Settings, small: Mapping, anchor: tuple[float, str] | None = None,
    num_samples: int = 16, **options
) -> Run:  # fmt: skip
    """Options: of the model; small: those of the quick profile."""
    return Run(
        name=name,
        title=title,
        dataset=dataset,
        family=LadderVAE,
        options={**SHAPES[dataset], **options},
        plans={
            "quick": Plan(
                quick(settings), options=small, dataset=EMBEDDED[dataset], num_test=40, num_validation=40,
                num_samples=10,
            ),
            "reference": Plan(settings, num_validation=1000, num_samples=num_samples),
            "paper": Plan(paper(settings), num_samples=1000),
        },
        unit="nats" if dataset == "mnist" else "bits",
        binarised=dataset == "mnist",
        anchor=anchor,
    )  # fmt: skip


def _settings(steps: int, **changes) -> Settings:
    usual = {"batch_size": 32, "learning_rate": 2e-3, "muon_lr": 0.015, "warmup_steps": 200, "schedule": "cosine"}
    return Settings(**{"steps": steps, **usual, "max_grad_norm": 200.0, "validate_every": steps // 20, **changes})


RUNS = [
    _ladder(
        "ladder-mnist", "Ladder VAE, four stochastic layers", "mnist", _settings(12_000, muon_lr=0.005),
        {"num_filters": 8},
        (79.24, "a public ladder VAE of 3 layers, one fixed binarisation"),
        num_layers=[2, 2], num_latents=8, num_filters=48,
    ),
    _ladder(
        "vae-dmol-ladder", "Ladder VAE, mixture of logistics", "cifar10", _settings(5_000), {"num_filters": 8},
        (3.36, "LVAE of 15 layers, as reported by Maaløe et al. 2019"),
        num_layers=[2, 2, 1], num_latents=8, num_filters=64, likelihood=LogisticMixture(),
    ),
    _ladder(  # as many latents and as much arithmetic in a single layer
        "vae-dmol-maps", "One layer of maps, mixture of logistics", "cifar10", _settings(5_000), {"num_filters": 8},
        num_layers=[1], num_latents=20, num_filters=64, num_blocks=5, likelihood=LogisticMixture(), num_samples=4,
    ),
]  # fmt: skip
