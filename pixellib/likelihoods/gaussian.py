"""The Gaussian observation model: a density on the [-1, 1] axis, not a probability of levels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pixellib.data.transforms import scale, unscale
from pixellib.likelihoods.base import (
    ImageDistribution,
    Kind,
    LevelsOfDensity,
    at_least_float32,
    check_choice,
    check_int,
    check_params,
    real_tensors,
)

LIMIT = 30.0  # of a free log-variance: e^30 and e^-30 are safe in float32
WIDE = 1000.0  # levels: with a larger standard deviation a level has the density of its middle, to six digits
HALF = 127.5  # levels on half the [-1, 1] axis


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussian sub-pixels on the image scaled to [-1, 1].

    variance: "unit" fixes it to 1, so that the likelihood is the squared error in disguise; "bounded" puts the
    log-variance through tanh, so that it lies between e^-1 and e; "free" leaves it to the network, limited to e^-30 and
    e^30. Parameters: C means and, but for "unit", C log-variances.

    Beyond a limit, log_prob has no derivative with respect to a log-variance that would drive it further out, and keeps
    the one that leads back.

    >>> images = torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)
    >>> Gaussian("unit")(torch.ones(1, 1, 2, 2)).log_prob(images)  # four times log(1 / sqrt(2 pi))
    tensor([-3.6758])
    """

    kind: ClassVar[Kind] = "density"  # per unit of the [-1, 1] axis; one level is 1 / 127.5 of it
    coupled_channels: ClassVar[bool] = False
    num_levels: ClassVar[int] = 256
    variance: Literal["unit", "bounded", "free"] = "free"

    def __post_init__(self):
        check_choice("variance", self.variance, "unit", "bounded", "free")

    def num_params(self, channels: int) -> int:
        check_int("channels", channels, 1)
        return channels if self.variance == "unit" else 2 * channels

    def channel_index(self, channels: int) -> torch.LongTensor:
        check_int("channels", channels, 1)
        return torch.arange(channels).repeat(1 if self.variance == "unit" else 2)

    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Nothing: the layer's own initialisation will do."""

    def __call__(self, params: Tensor) -> "GaussianImages":
        check_params("Gaussian", params, 1 if self.variance == "unit" else 2)
        if self.variance == "unit":
            means = at_least_float32(params)
            d = GaussianImages(means, torch.zeros_like(means), validate_args=False)
        else:
            means, log_variance = at_least_float32(params).chunk(2, -3)
            if self.variance == "bounded":
                d = GaussianImages(means, log_variance.tanh(), validate_args=False)
            else:
                d = _LimitedGaussianImages(means, log_variance)
        return d._values_checked()


class GaussianImages(ImageDistribution):
    """Images with independent Gaussian sub-pixels; means, log_variance: float (..., C, H, W), on the [-1, 1] axis.

    The two may broadcast against each other. `log_prob` is the logarithm of a density per unit of that axis for every
    sub-pixel, evaluated at an image's levels. The support is these levels, since only there can it be asked for, but
    the densities of the 256 levels sum to no particular number; `entropy` is the differential entropy, in nats per the
    same unit, and `mean`, `variance` and `cdf` are those of the Gaussian itself, which may lie outside 0..255.

    `sample` rounds to levels and clamps to 0..255. `conditional_log_pmf` is the probability of what `sample` returns.

    >>> d = GaussianImages(torch.zeros(2, 3, 4, 4), torch.tensor(-4.0).expand(3, 4, 4))
    >>> d
    GaussianImages(means: torch.Size([2, 3, 4, 4]), log_variance: torch.Size([2, 3, 4, 4]))
    >>> d.mean[0, 0, 0, 0], d.stddev[0, 0, 0, 0]  # in units of levels
    (tensor(127.5000), tensor(17.2552))
    """

    arg_constraints: ClassVar = {
        "means": constraints.independent(constraints.real, 3),
        "log_variance": constraints.independent(constraints.real, 3),
    }
    support: ClassVar = constraints.independent(LevelsOfDensity(256), 3)

    def __init__(self, means: Tensor, log_variance: Tensor, *, validate_args: bool | None = None):
        means, log_variance = real_tensors("GaussianImages", 3, means=means, log_variance=log_variance)
        self.means, self.log_variance = torch.broadcast_tensors(means, log_variance)
        super().__init__(self.means.shape[:-3], self.means.shape[-3:], validate_args)

    @property
    def mean(self) -> Tensor:
        """float (..., C, H, W) in units of levels."""
        return (self.means + 1) * HALF

    @property
    def variance(self) -> Tensor:
        """float (..., C, H, W) in squared levels."""
        return HALF**2 * self.log_variance.exp()

    @property
    def stddev(self) -> Tensor:
        """float (..., C, H, W) in units of levels."""
        return HALF * (0.5 * self.log_variance).exp()

    def log_prob_per_pixel(self, x: Tensor, fused: bool = True) -> Tensor:
        """log-density of each pixel in nats, summed over its channels: float (..., H, W); fused has no effect."""
        self._check(x)
        squares = (scale(x.to(self.means)) - self.means).square()
        log_variance = self._log_variance_for(squares)
        return -0.5 * (squares * torch.exp(-log_variance) + log_variance + math.log(2 * math.pi)).sum(-3)

    def conditional_log_pmf(self, x: Tensor | None = None) -> Tensor:
        """log-probability of each level among rounded samples, the ends taking the tails: float (..., L, C, H, W)."""
        levels = torch.arange(256, device=self.means.device, dtype=self.means.dtype).view(-1, 1, 1, 1)
        means, std = self.mean.unsqueeze(-4), self.stddev.unsqueeze(-4)
        upper, lower = (levels + 0.5 - means) / std, (levels - 0.5 - means) / std
        upper, lower = upper.masked_fill(levels == 255, math.inf), lower.masked_fill(levels == 0, -math.inf)
        mirrored = lower > 0  # measure from the side where the tail is
        upper, lower = torch.where(mirrored, -lower, upper), torch.where(mirrored, -upper, lower)
        log_upper, log_lower = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
        wide = (std > WIDE) & (levels > 0) & (levels < 255)  # where the two differ too little for floating point
        share = torch.where(wide, 1.0, -torch.expm1(log_lower - log_upper))
        density = -0.5 * ((levels - means) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
        return self._given(x, torch.where(wide, density, log_upper + share.log()))

    def cdf(self, x: Tensor) -> Tensor:
        """P(X <= x) of each sub-pixel's Gaussian, at the level itself: float (..., C, H, W)."""
        self._check(x)
        return torch.special.ndtr((x.to(self.means) - self.mean) / self.stddev)

    def entropy(self) -> Tensor:
        """Differential entropy in nats, of the batch shape, of the image scaled to [-1, 1]."""
        return 0.5 * (self.log_variance + math.log(2 * math.pi) + 1).sum((-3, -2, -1))

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """uint8 (*sample_shape, ..., C, H, W): rounded to levels, clamped to 0..255."""
        shape = torch.Size(sample_shape) + self.means.shape
        noise = torch.randn(shape, generator=generator, device=self.means.device, dtype=self.means.dtype)
        return unscale(self.means + (0.5 * self.log_variance).exp() * noise)

    def _log_variance_for(self, squares: Tensor) -> Tensor:
        """The log-variance that scores squared deviations from the mean."""
        return self.log_variance


class _LimitedGaussianImages(GaussianImages):
    """With log-variances that are limited, but whose derivatives still lead back from beyond a limit."""

    def __init__(self, means: Tensor, unlimited: Tensor):
        self._unlimited = unlimited
        super().__init__(means, unlimited.clamp(-LIMIT, LIMIT), validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance=None) -> "_LimitedGaussianImages":
        new = super().expand(batch_shape, _instance)
        new._unlimited = self._unlimited.expand_as(new.means)
        return new

    def _log_variance_for(self, squares: Tensor) -> Tensor:
        limited = self.log_variance.detach()
        ascent = squares.detach() * torch.exp(-limited) - 1  # the sign of d log p / d log-variance
        outward = (self._unlimited.detach() - limited) * ascent > 0
        return limited + (self._unlimited - self._unlimited.detach()) * ~outward
