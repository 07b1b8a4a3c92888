"""Notebooks 02, 03 and 04: one convolutional VAE on colours, with one likelihood after another."""

from dataclasses import replace

from pixellib.likelihoods import DiscretizedLogistic, Gaussian, GreyBernoulli, Likelihood, LogisticMixture
from pixellib.models import VAE
from pixellib.series.catalogue.common import EMBEDDED, SHAPES, paper, quick
from pixellib.series.run import Plan, Run
from pixellib.training import Settings

_SETTINGS = Settings(
    steps=9_000, batch_size=32, learning_rate=4e-3, muon_lr=0.02, warmup_steps=200, schedule="cosine",
    max_grad_norm=100.0, ema_decay=0.998, validate_every=450,
)  # fmt: skip
_COMPARED = {"steps": 5_000, "seeds": 2, "num_samples": 4}  # as many images as the ladder sees


def _vae(
    name: str, title: str, likelihood: Likelihood, dataset: str = "cifar10", steps: int = 9_000, seeds: int = 1,
    num_samples: int = 16, **options,
) -> Run:  # fmt: skip
    """Options: of the model. A VAE whose beta is not 1 optimises no bound, so that no tighter one is computed."""
    settings = replace(_SETTINGS, steps=steps, validate_every=steps // 20)
    return Run(
        name=name,
        title=title,
        dataset=dataset,
        family=VAE,
        options={**SHAPES[dataset], "num_latents": [20], "likelihood": likelihood, **options},
        plans={
            "quick": Plan(
                quick(settings, learning_rate=3e-3), options={"num_filters": 16}, dataset=EMBEDDED[dataset],
                num_test=40, num_validation=40, num_samples=10,
            ),
            "reference": Plan(settings, num_samples=num_samples if options.get("beta", 1.0) == 1.0 else None),
            "paper": Plan(paper(settings, steps=400_000), num_samples=1000),
        },
        seeds=seeds,
    )  # fmt: skip


RUNS = [
    _vae("vae-bernoulli-grey", "VAE, cross-entropy on grey values", GreyBernoulli()),
    _vae("vae-gaussian-unit", "VAE, Gaussian of unit variance", Gaussian("unit")),
    _vae("vae-gaussian-bounded", "VAE, Gaussian, bounded variance", Gaussian("bounded")),
    _vae("vae-gaussian-free", "VAE, Gaussian, free variance", Gaussian("free")),
    _vae("vae-logistic-bounded", "VAE, discretised logistic, bounded scale", DiscretizedLogistic("bounded")),
    _vae("vae-logistic-free", "VAE, discretised logistic, free scale", DiscretizedLogistic("free")),
    _vae("vae-dmol-uncoupled", "VAE, mixture, channels not coupled", LogisticMixture(coupled=False), **_COMPARED),
    _vae("vae-dmol", "VAE, mixture of logistics", LogisticMixture(), **_COMPARED),
    _vae("vae-dmol-large", "VAE, mixture, larger network", LogisticMixture(), **_COMPARED, num_filters=54),
    _vae(
        "vae-dmol-128", "VAE, mixture, 128 latents", LogisticMixture(), **_COMPARED, num_filters=16, num_latents=[128]
    ),
    _vae("vae-dmol-beta-0.1", "VAE, mixture, beta = 0.1", LogisticMixture(), **_COMPARED, beta=0.1),
    _vae("vae-dmol-beta-3", "VAE, mixture, beta = 3", LogisticMixture(), **_COMPARED, beta=3.0),
    _vae("vae-dmol-mnist", "VAE, mixture of logistics", LogisticMixture(), dataset="mnist"),
]
