"""One function for each family of image distributions: float64 ones of 3 x 2 x 3 images, from explicit tensors.

Each takes the batch shape and, by name, `channels`, `size`, `dtype` and `seed`; the same arguments, the same numbers.
"""

import torch

from pixellib.data import IntensityPermutation
from pixellib.likelihoods import (
    BernoulliImages,
    CategoricalImages,
    DiscretizedLogisticImages,
    DiscretizedLogisticMixture,
    GaussianImages,
    GreyBernoulliImages,
    PermutedImages,
)

C, K, H, W = 3, 2, 2, 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tensors(*shapes, dtype=torch.float64, seed=0, device="cpu"):
    """Normal parameters of these shapes, always the same."""
    generator = seeded(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype).to(device) for shape in shapes]


def bernoulli(*batch, channels=C, size=(H, W), **options):
    return BernoulliImages(*tensors((*batch, channels, *size), **options))


def grey_bernoulli(*batch, channels=C, size=(H, W), **options):
    return GreyBernoulliImages(*tensors((*batch, channels, *size), **options))


def categorical(*batch, channels=C, size=(H, W), num_levels=256, **options):
    return CategoricalImages(*tensors((*batch, channels, num_levels, *size), **options))


def gaussian(*batch, channels=C, size=(H, W), **options):
    means, log_variance = tensors(*[(*batch, channels, *size)] * 2, **options)
    return GaussianImages(0.2 * means, 0.3 * log_variance - 5)


def logistic(*batch, channels=C, size=(H, W), tails="censored", num_levels=256, **options):
    means, log_scales = tensors(*[(*batch, channels, *size)] * 2, **options)
    return DiscretizedLogisticImages(means, log_scales - 2, tails=tails, num_levels=num_levels)


def mixture(*batch, channels=C, size=(H, W), tails="censored", coupled=False, num_levels=256, **options):
    shapes = [(*batch, K, *size)] + [(*batch, channels, K, *size)] * 3
    logits, means, log_scales, coefficients = tensors(*shapes, **options)
    coefficients = coefficients.tanh() if coupled else None
    return DiscretizedLogisticMixture(
        logits, 0.5 * means, log_scales - 3, coefficients, tails=tails, num_levels=num_levels
    )


def coupled(*batch, **options):
    return mixture(*batch, coupled=True, **options)


def truncated(*batch, **options):
    return mixture(*batch, coupled=True, tails="truncated", **options)


def permuted(*batch, **options):
    return PermutedImages(mixture(*batch, **options), IntensityPermutation(seed=1))


FAMILIES = [bernoulli, grey_bernoulli, categorical, gaussian, logistic, mixture, coupled, truncated, permuted]
MASSES = [bernoulli, categorical, logistic, mixture, permuted]
