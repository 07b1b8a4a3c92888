"""The Gaussian observation model: a density on the [-1, 1] axis, not a probability of levels."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from pixellib.likelihoods.base import at_least_float32, check_images, check_params, scale_levels

LIMIT = 30.0  # of a free log-variance, where float32 still has its square, inverse and sum


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussian sub-pixels on the image scaled to [-1, 1].

    variance: "unit" fixes it to 1, so that the likelihood is the squared error in disguise; "bounded" puts the
    log-variance through tanh, so that it lies between e^-1 and e; "free" leaves it to the network. Parameters: C means
    and, but for "unit", C log-variances.
    """

    kind: ClassVar = "density"  # per unit of the [-1, 1] axis; one level is 1 / 127.5 of it
    coupled_channels: ClassVar = False
    variance: Literal["unit", "bounded", "free"] = "free"

    def __post_init__(self):
        if self.variance not in ("unit", "bounded", "free"):
            raise ValueError(f"unknown variance {self.variance!r}; choose unit, bounded or free")

    def num_params(self, channels: int) -> int:
        return channels if self.variance == "unit" else 2 * channels

    def channel_index(self, channels: int) -> torch.LongTensor:
        return torch.arange(channels).repeat(1 if self.variance == "unit" else 2)

    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Nothing: the layer's own initialisation will do."""

    def __call__(self, params: Tensor) -> "GaussianImages":
        check_params("Gaussian", params, 1 if self.variance == "unit" else 2)
        if self.variance == "unit":
            means = at_least_float32(params)
            return GaussianImages(means, torch.zeros_like(means))
        means, log_variance = at_least_float32(params).chunk(2, -3)
        bounded = self.variance == "bounded"
        return GaussianImages(means, log_variance.tanh() if bounded else log_variance.clamp(-LIMIT, LIMIT))


class GaussianImages(Distribution):
    """means, log_variance: float (..., C, H, W), on the [-1, 1] axis. A value broadcasts against the batch shape.

    `log_prob` is the logarithm of a density per unit of that axis for every sub-pixel. `sample` rounds to levels and
    clamps to 0..255, and `conditional_log_pmf` is the probability of what `sample` returns.
    """

    arg_constraints = {}  # noqa: RUF012
    support = constraints.independent(constraints.integer_interval(0, 255), 3)
    num_levels = 256

    def __init__(self, means: Tensor, log_variance: Tensor):
        self.means, self.log_variance = means, log_variance
        super().__init__(means.shape[:-3], means.shape[-3:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """float (..., C, H, W) in units of levels, of the Gaussian itself: it may lie outside 0..255."""
        return (self.means + 1) * 127.5

    def log_prob(self, x: Tensor) -> Tensor:
        """log-density of the scaled image in nats, float32 (or float64) of the batch shape; x uint8 (B, C, H, W)."""
        return self.log_prob_per_pixel(x).sum((-2, -1))

    def log_prob_per_pixel(self, x: Tensor) -> Tensor:
        """log-density of each pixel in nats, summed over its channels: float (..., H, W)."""
        check_images("Gaussian", x, self.batch_shape, self.event_shape, 256)
        squares = (scale_levels(x.to(self.means), 256) - self.means).square() * torch.exp(-self.log_variance)
        return -0.5 * (squares + self.log_variance + math.log(2 * math.pi)).sum(-3)

    def conditional_log_pmf(self, x: Tensor | None = None) -> Tensor:
        """log-probability of each level among rounded samples, the ends taking the tails: float (..., L, C, H, W)."""
        levels = torch.arange(256, device=self.means.device, dtype=self.means.dtype).view(-1, 1, 1, 1)
        means, std = self.mean.unsqueeze(-4), 127.5 * (0.5 * self.log_variance).exp().unsqueeze(-4)
        upper, lower = (levels + 0.5 - means) / std, (levels - 0.5 - means) / std
        upper, lower = upper.masked_fill(levels == 255, math.inf), lower.masked_fill(levels == 0, -math.inf)
        mirrored = lower > 0  # measure from the side where the tail is
        upper, lower = torch.where(mirrored, -lower, upper), torch.where(mirrored, -upper, lower)
        log_upper, log_lower = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
        return log_upper + torch.log(-torch.expm1(log_lower - log_upper))

    def sample(self, sample_shape=(), generator: torch.Generator | None = None) -> Tensor:
        """uint8 (*sample_shape, ..., C, H, W): rounded to levels, clamped to 0..255."""
        shape = torch.Size(sample_shape) + self.means.shape
        noise = torch.randn(shape, generator=generator, device=self.means.device, dtype=self.means.dtype)
        y = self.means + (0.5 * self.log_variance).exp() * noise
        return ((y + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
