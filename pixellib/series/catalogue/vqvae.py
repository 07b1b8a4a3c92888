"""The VQ-VAEs of notebook 10: their codes are symbols that nobody put in order."""

from pixellib.models import VQVAE
from pixellib.series.catalogue.common import EMBEDDED, SHAPES, paper, quick
from pixellib.series.run import Plan, Run
from pixellib.training import Settings

_SETTINGS = Settings(
    steps=4_000, batch_size=64, learning_rate=2e-3, warmup_steps=100, schedule="cosine", max_grad_norm=1000.0,
    ema_decay=0.998, validate_every=400,
)  # fmt: skip


def _vqvae(dataset: str) -> Run:
    """The paper's commitment, 0.25, is for squared errors; log-likelihoods weigh more, and with it most codes fall
    idle.
    """
    return Run(
        name=f"vqvae-{dataset}",
        title="VQ-VAE",
        dataset=dataset,
        family=VQVAE,
        options={**SHAPES[dataset], "commitment": 5.0},
        plans={
            "quick": Plan(
                quick(_SETTINGS), options={"num_filters": 8}, dataset=EMBEDDED[dataset], num_test=40, num_validation=40
            ),
            "reference": Plan(_SETTINGS),
            "paper": Plan(paper(_SETTINGS)),
        },
    )


MNIST, CIFAR10 = _vqvae("mnist"), _vqvae("cifar10")

RUNS = [MNIST, CIFAR10]
