"""One discretised logistic per sub-pixel: the likelihood, and the distribution of images it gives.

Salimans, Karpathy, Chen and Kingma, "PixelCNN++", ICLR 2017, section 2.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.utils import lazy_property

from pixellib.likelihoods import logistic_numerics as numerics
from pixellib.likelihoods.base import (
    ImageDistribution,
    Kind,
    at_least_float32,
    check_choice,
    check_int,
    check_params,
    entropy_of,
    levels_dtype,
    real_tensors,
)
from pixellib.likelihoods.logistic_numerics import FusedMixture, Tails
from pixellib.likelihoods.with_gradient import with_gradient


@dataclass(frozen=True)
class DiscretizedLogistic:
    """Independent sub-pixels, each a logistic integrated over the bin of every level.

    Parameters: C means, then C log-scales, in units of the [-1, 1] image. scale: "bounded" puts the log-scale through
    tanh (so the scale is at least e^-1, 47 of 256 levels), "free" only limits it to at least min_log_scale and, if
    given, at most max_log_scale. tails: "censored" gives the tails to the first and the last level, "truncated"
    discards and renormalises.

    Beyond a limit, log_prob has no derivative with respect to a log-scale that would drive it further out, and keeps
    the one that leads back: no sub-pixel is stuck there. (log_prob_per_pixel with fused=False has neither.)

    >>> params = torch.tensor([0.0, -3.0]).view(1, 2, 1, 1)
    >>> d = DiscretizedLogistic()(params)
    >>> d.log_prob(torch.full((1, 1, 1, 1), 128, dtype=torch.uint8))
    tensor([-3.2365])
    >>> d.sample().dtype
    torch.uint8
    """

    kind: ClassVar[Kind] = "mass"
    coupled_channels: ClassVar[bool] = False
    scale: Literal["bounded", "free"] = "free"
    tails: Tails = "censored"
    num_levels: int = 256
    min_log_scale: float = -7.0
    max_log_scale: float | None = None

    def __post_init__(self):
        check_choice("scale", self.scale, "bounded", "free")
        numerics.check_levels(self.num_levels, self.tails)
        numerics.check_limits(self.min_log_scale, self.max_log_scale)
        if self.scale == "bounded" and (self.min_log_scale, self.max_log_scale) != (-7.0, None):
            raise ValueError('min_log_scale and max_log_scale are for scale "free": a bounded one has its own limits')

    def num_params(self, channels: int) -> int:
        check_int("channels", channels, 1)
        return 2 * channels

    def channel_index(self, channels: int) -> torch.LongTensor:
        check_int("channels", channels, 1)
        return torch.arange(channels).repeat(2)

    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Nothing: the layer's own initialisation will do."""

    def __call__(self, params: Tensor) -> "DiscretizedLogisticImages":
        check_params("DiscretizedLogistic", params, 2)
        params = at_least_float32(params)
        if self.scale == "free":
            return _NetworkLogisticImages(self, params)._values_checked()
        means, log_scales = params.chunk(2, -3)
        return DiscretizedLogisticImages(
            means, log_scales.tanh(), num_levels=self.num_levels, tails=self.tails, validate_args=False
        )._values_checked()


class DiscretizedLogisticImages(ImageDistribution):
    """Images with independent sub-pixels; means, log_scales: float (..., C, H, W), in units of the [-1, 1] image.

    The two may broadcast against each other. num_levels: L; tails: "censored" or "truncated".

    In float64, log_prob is exact to nine digits for log-scales from -20 up. In float32 the ends of bins are rounded,
    which near a mean that lies at such an end costs about 3e-5 nats at a log-scale of -7, and e times as much for each
    one below. `mean`, `variance` and `entropy` sum over the levels. `cdf` is each sub-pixel's own: (..., C, H, W).

    >>> d = DiscretizedLogisticImages(torch.zeros(2, 3, 4, 4), torch.full((3, 4, 4), -3.0))
    >>> d
    DiscretizedLogisticImages(means: torch.Size([2, 3, 4, 4]), log_scales: torch.Size([2, 3, 4, 4]))
    >>> d.log_prob(d.sample((5,))).shape
    torch.Size([5, 2])
    >>> d.mean[0, 0, 0, 0], d.stddev[0, 0, 0, 0]  # in units of levels
    (tensor(127.5000), tensor(11.5173))
    """

    arg_constraints: ClassVar = {
        "means": constraints.independent(constraints.real, 3),
        "log_scales": constraints.independent(constraints.real, 3),
    }

    def __init__(
        self,
        means: Tensor,
        log_scales: Tensor,
        *,
        num_levels: int = 256,
        tails: Tails = "censored",
        validate_args: bool | None = None,
    ):
        numerics.check_levels(num_levels, tails)
        self.num_levels, self.tails = num_levels, tails
        means, log_scales = real_tensors("DiscretizedLogisticImages", 3, means=means, log_scales=log_scales)
        self.means, self.log_scales = torch.broadcast_tensors(means, log_scales)
        super().__init__(self.means.shape[:-3], self.means.shape[-3:], validate_args)

    @property
    def mean(self) -> Tensor:
        """float (..., C, H, W), in units of levels."""
        return numerics.moments(self.means, self.log_scales, self.num_levels, self.tails)[0]

    @property
    def variance(self) -> Tensor:
        """float (..., C, H, W), in squared levels."""
        return numerics.moments(self.means, self.log_scales, self.num_levels, self.tails)[1]

    def log_prob_per_pixel(self, x: Tensor, fused: bool = True) -> Tensor:
        """log p of each pixel in nats, summed over its channels: float (..., H, W); fused: see `ImageDistribution`."""
        batch = self._check(x)
        if not fused:
            return numerics.log_mass(x, self.means, self.log_scales, self.num_levels, self.tails).sum(-3)
        formula, tensors = self._fused()
        x, *tensors = (t.expand(*batch, *t.shape[-3:]) for t in (x, *tensors))
        return with_gradient(formula, x, *tensors, num_trailing=2)

    def conditional_log_pmf(self, x: Tensor | None = None) -> Tensor:
        """Every level's log-probability in nats: float (..., L, C, H, W). x is not needed, since channels are
        independent.
        """
        means, log_scales = self.means.unsqueeze(-4), self.log_scales.unsqueeze(-4)
        masses = numerics.masses(means, log_scales, self.num_levels, self.tails, 3)
        return self._given(x, torch.cat([pmf for _, pmf in masses], -4))

    def cdf(self, x: Tensor) -> Tensor:
        """P(X <= x) of each sub-pixel: float (..., C, H, W)."""
        self._check(x)
        return numerics.cdf(x, self.means, self.log_scales, self.num_levels, self.tails)

    def entropy(self) -> Tensor:
        """In nats, of the batch shape."""
        return entropy_of(self.conditional_log_pmf()).sum((-4, -3, -2, -1))

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """uint8 (*sample_shape, ..., C, H, W); int64 for more than 256 levels."""
        shape = torch.Size(sample_shape) + self.means.shape
        u = torch.rand(shape, generator=generator, device=self.means.device, dtype=self.means.dtype)
        x = numerics.quantile(u, self.means, self.log_scales, self.num_levels, self.tails)
        return x.to(levels_dtype(self.num_levels))

    def _fused(self) -> tuple[FusedMixture, Sequence[Tensor]]:
        """How log p of a pixel is computed along with its gradient, and the tensors that hold the parameters."""
        return FusedMixture(self.num_levels, self.tails, _one_component), (self.means, self.log_scales)


class _NetworkLogisticImages(DiscretizedLogisticImages):
    """With the parameters as a network gives them, so that the gradient is written where it is wanted."""

    def __init__(self, likelihood: DiscretizedLogistic, params: Tensor):
        self._likelihood, self._params = likelihood, params
        self.num_levels, self.tails = likelihood.num_levels, likelihood.tails
        self.means, self._unlimited = params.chunk(2, -3)
        ImageDistribution.__init__(self, self.means.shape[:-3], self.means.shape[-3:], validate_args=False)

    @lazy_property
    def log_scales(self) -> Tensor:
        return self._unlimited.clamp(self._likelihood.min_log_scale, self._likelihood.max_log_scale)

    def expand(self, batch_shape: Sequence[int], _instance=None) -> "_NetworkLogisticImages":
        params = self._params.expand(*batch_shape, *self._params.shape[-3:])
        new = type(self)(self._likelihood, params)
        new._validate_args = self._validate_args
        return new

    def _fused(self) -> tuple[FusedMixture, Sequence[Tensor]]:
        limits = self._likelihood.min_log_scale, self._likelihood.max_log_scale
        return FusedMixture(self.num_levels, self.tails, _unpack, True, *limits), (self._params,)


def _one_component(means: Tensor, log_scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A mixture's logits (N, 1, H, W), of no effect, and means and log-scales (N, C, 1, H, W)."""
    return torch.zeros_like(means[:, :1]), means.unsqueeze(2), log_scales.unsqueeze(2)


def _unpack(params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _one_component(*params.chunk(2, 1))
