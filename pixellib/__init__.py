"""Likelihoods of images and models that use them, in PyTorch.

The names below are all that most users need::

    >>> import torch
    >>> from pixellib import LogisticMixture
    >>> likelihood = LogisticMixture(num_components=5)
    >>> params = torch.randn(2, likelihood.num_params(channels=3), 8, 8)  # what a network puts out
    >>> x = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    >>> likelihood(params).log_prob(x).shape  # nats per image
    torch.Size([2])

They are imported when they are first used, so that `import pixellib` does not wait for torch. `pixellib.series`, which
makes the notebook series "How do you put a probability on a pixel?" out of this library, is not among them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for type checkers and readers; at run time __getattr__ looks the names up
    from pixellib import checkpoints, coding, data, devices, evaluation, likelihoods, models, optim, training
    from pixellib.checkpoints import CheckpointError
    from pixellib.coding import CodingError, compress, decompress
    from pixellib.evaluation import Estimate, bits_per_dim, evaluate
    from pixellib.likelihoods import (
        Bernoulli,
        BernoulliImages,
        Categorical,
        CategoricalImages,
        DiscretizedLogistic,
        DiscretizedLogisticImages,
        DiscretizedLogisticMixture,
        Gaussian,
        GaussianImages,
        GreyBernoulli,
        GreyBernoulliImages,
        ImageDistribution,
        Likelihood,
        LogisticMixture,
        NotFiniteError,
        Permuted,
        PermutedImages,
        published_log_prob_per_pixel,
    )
    from pixellib.models import (
        IWAE,
        VAE,
        VQVAE,
        AutoregressiveModel,
        Flow,
        GatedPixelCNN,
        ImageModel,
        LadderVAE,
        LatentModel,
        PixelCNN,
        PixelCNNpp,
        PixelVAE,
        TwoStreamModel,
        assert_causal,
        assert_invertible,
        openai_pixelcnnpp,
    )
    from pixellib.optim import Muon
    from pixellib.training import NonFiniteLoss, OutOfTime, Settings, Training, fit

__version__ = "0.2.0"

# Where public names are looked for, in this order.
_MODULES = ("likelihoods", "models", "training", "evaluation", "coding", "optim", "checkpoints", "devices", "data")

__all__ = [
    "IWAE",
    "VAE",
    "VQVAE",
    "AutoregressiveModel",
    "Bernoulli",
    "BernoulliImages",
    "Categorical",
    "CategoricalImages",
    "CheckpointError",
    "CodingError",
    "DiscretizedLogistic",
    "DiscretizedLogisticImages",
    "DiscretizedLogisticMixture",
    "Estimate",
    "Flow",
    "GatedPixelCNN",
    "Gaussian",
    "GaussianImages",
    "GreyBernoulli",
    "GreyBernoulliImages",
    "ImageDistribution",
    "ImageModel",
    "LadderVAE",
    "LatentModel",
    "Likelihood",
    "LogisticMixture",
    "Muon",
    "NonFiniteLoss",
    "NotFiniteError",
    "OutOfTime",
    "Permuted",
    "PermutedImages",
    "PixelCNN",
    "PixelCNNpp",
    "PixelVAE",
    "Settings",
    "Training",
    "TwoStreamModel",
    "assert_causal",
    "assert_invertible",
    "bits_per_dim",
    "checkpoints",
    "coding",
    "compress",
    "data",
    "decompress",
    "devices",
    "evaluate",
    "evaluation",
    "fit",
    "likelihoods",
    "models",
    "openai_pixelcnnpp",
    "optim",
    "published_log_prob_per_pixel",
    "training",
]


def __getattr__(name: str) -> object:
    """A public module, or a public name from the first of them that has it (PEP 562)."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in __all__:
        for module in map(import_module, (f"{__name__}.{module}" for module in _MODULES)):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
