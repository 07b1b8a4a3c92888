"""The discretised mixture of logistics (DMoL), with the parameter layout of the published networks.

Salimans, Karpathy, Chen and Kingma, "PixelCNN++", ICLR 2017, sections 2.1 and 2.2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.utils import lazy_property

from pixellib.data.transforms import scale
from pixellib.likelihoods import logistic_numerics as numerics
from pixellib.likelihoods.base import (
    ImageDistribution,
    Kind,
    at_least_float32,
    check_int,
    check_params,
    check_tensors,
    entropy_of,
    gain_of,
    levels_dtype,
    real_tensors,
)
from pixellib.likelihoods.logistic_numerics import FusedMixture, Tails, couple
from pixellib.likelihoods.with_gradient import with_gradient


@dataclass(frozen=True)
class LogisticMixture:
    """K discretised logistics for each pixel, for 1 or 3 channels; a pixel's channels share its component.

    Parameters: K logits, then for each channel [K means | K log-scales | K coefficients], the coefficients only for
    three coupled channels. Means and scales are in units of the [-1, 1] image; coefficients go through tanh: green's
    mean grows by c0 red, blue's by c1 red + c2 green. tails: "censored" gives the tails to the first and the last
    level, "truncated" conditions each component, channel by channel, on falling inside the range. coupled=False leaves
    the coefficients out (layout [K means | K log-scales]).

    Log-scales are limited to at least min_log_scale, as in the published code, and to at most max_log_scale, if given.
    Beyond a limit, log_prob has no derivative with respect to a log-scale that would drive it further out, and keeps
    the one that leads back: no component is stuck there. (log_prob_per_pixel with fused=False has neither.)

    >>> likelihood = LogisticMixture(num_components=5)
    >>> params = torch.zeros(2, likelihood.num_params(channels=3), 8, 8)
    >>> d = likelihood(params)
    >>> d.batch_shape, d.event_shape
    (torch.Size([2]), torch.Size([3, 8, 8]))
    >>> d.log_prob_per_pixel(d.sample()).shape
    torch.Size([2, 8, 8])
    """

    kind: ClassVar[Kind] = "mass"
    coupled_channels: ClassVar[bool] = True
    num_components: int = 10
    tails: Tails = "censored"
    num_levels: int = 256
    coupled: bool = True
    min_log_scale: float = -7.0
    max_log_scale: float | None = None

    def __post_init__(self):
        check_int("num_components", self.num_components, 1)
        if not isinstance(self.coupled, bool):
            raise ValueError(f"coupled must be True or False, got {self.coupled!r}")
        numerics.check_levels(self.num_levels, self.tails)
        numerics.check_limits(self.min_log_scale, self.max_log_scale)

    def num_params(self, channels: int) -> int:
        """ValueError unless there are 1 or 3 channels."""
        check_int("channels", channels, 1)
        if channels not in (1, 3):
            raise ValueError(f"LogisticMixture is for 1 or 3 channels, got {channels}")
        return self.num_components * (1 + channels * self._num_blocks(channels))

    def channel_index(self, channels: int) -> torch.LongTensor:
        """Logits 0; means and log-scales their channel; coefficients the channel whose mean they shift."""
        self.num_params(channels)
        blocks = [[c, c, (1, 2, 2)[c]][: self._num_blocks(channels)] for c in range(channels)]
        index = [0] + [channel for block in blocks for channel in block]
        return torch.tensor(index).repeat_interleave(self.num_components)

    @torch.no_grad()
    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Set the K means evenly over [-1, 1], each scale to 1 / (2 K) and the mixture weights equal; multiply the
        layer's weight by 0.1.
        """
        gain_of(layer).mul_(0.1)
        K = self.num_components
        zeros, means = torch.zeros(K), (2 * torch.arange(K) + 1) / K - 1
        blocks = [means, torch.full((K,), -math.log(2 * K)), zeros][: self._num_blocks(channels)]
        layer.bias.copy_(torch.cat([zeros, *blocks * channels]))

    def __call__(self, params: Tensor) -> "DiscretizedLogisticMixture":
        """ValueError for another number of parameters than K fits, FloatingPointError if one is not finite."""
        check_params("LogisticMixture", params, 1)
        fitting = [self.num_params(channels) for channels in (1, 3)]
        if params.shape[-3] not in fitting:
            raise ValueError(
                f"LogisticMixture with {self.num_components} components expects {' or '.join(map(str, fitting))} "
                f"parameters (1 or 3 channels), got {tuple(params.shape)}"
            )
        return _NetworkMixture(self, at_least_float32(params))._values_checked()

    def unpack(self, params: Tensor) -> tuple[Tensor, ...]:
        """Views of logits (..., K, H, W), means, log-scales and, where there are, coefficients (..., C, K, H, W), as
        the network gives them: log-scales before the limits, and coefficients before the tanh.
        """
        K = self.num_components
        channels = 1 if params.shape[-3] == self.num_params(1) else 3
        logits, rest = params.split([K, params.shape[-3] - K], -3)
        return logits, *rest.unflatten(-3, (channels, -1, K)).unbind(-4)

    def _num_blocks(self, channels: int) -> int:
        """How many blocks of K parameters each channel has."""
        return 3 if self.coupled and channels == 3 else 2


class DiscretizedLogisticMixture(ImageDistribution):
    """Images whose pixels follow a mixture of K discretised logistics; a pixel's channels share its component.

    logits: float (..., K, H, W). means, log_scales: (..., C, K, H, W), in units of the [-1, 1] image. coefficients:
    None, or (..., 3, K, H, W) for three channels: green's mean grows by c0 red, blue's by c1 red + c2 green. All may
    broadcast against each other. num_levels: L; tails: "censored" or "truncated" (see `LogisticMixture`).

    `log_prob` and its gradient are as exact as those of `DiscretizedLogisticImages`. `mean` and `variance` sum over the
    levels and are exact without coefficients. With them, each component's later channels are taken at the mean of its
    earlier ones, and the variance that a shift passes on is added: this neglects what the ends of the range and
    rounding do to a shift, which is little unless a component reaches an end. `entropy`, of a single channel, sums over
    the levels too. Without coefficients `cdf` is that of each sub-pixel on its own, (..., C, H, W); with them it would
    be an integral over the earlier channels. NotImplementedError for `entropy` of 3 channels and for `cdf` with
    coefficients.

    >>> means = torch.tensor([-0.5, 0.5]).view(1, 2, 1, 1)
    >>> d = DiscretizedLogisticMixture(torch.zeros(2, 4, 4), means, torch.full((1, 2, 1, 1), -3.0))
    >>> d.means.shape, d.batch_shape, d.event_shape
    (torch.Size([1, 2, 4, 4]), torch.Size([]), torch.Size([1, 4, 4]))
    >>> d.mean[0, 0, 0], d.stddev[0, 0, 0]  # in units of levels
    (tensor(127.5000), tensor(64.7815))
    >>> d.log_prob(d.sample((3,))).shape
    torch.Size([3])
    """

    def __init__(
        self,
        logits: Tensor,
        means: Tensor,
        log_scales: Tensor,
        coefficients: Tensor | None = None,
        *,
        num_levels: int = 256,
        tails: Tails = "censored",
        validate_args: bool | None = None,
    ):
        numerics.check_levels(num_levels, tails)
        self.num_levels, self.tails = num_levels, tails
        name, given = "DiscretizedLogisticMixture", {"means": means, "log_scales": log_scales}
        if coefficients is not None:
            given["coefficients"] = coefficients
        check_tensors(name, 4, **given)
        logits, *others = real_tensors(name, 3, logits=logits, **given)
        try:
            self.means, self.log_scales, *shared = torch.broadcast_tensors(*others, logits.unsqueeze(-4))
        except RuntimeError:
            shapes = {key: tuple(t.shape) for key, t in {"logits": logits, **given}.items()}
            raise ValueError(f"{name}: the shapes of the parameters do not fit: {shapes}") from None
        self.logits = shared[-1][..., 0, :, :, :]
        self.coefficients = shared[0] if coefficients is not None else None
        channels, _, *size = self.means.shape[-4:]
        if coefficients is not None and channels != 3:
            raise ValueError(f"{name}: coefficients couple 3 channels, got {channels}")
        super().__init__(self.means.shape[:-4], torch.Size([channels, *size]), validate_args)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """All parameters are real."""
        names = ["logits", "means", "log_scales"] + ["coefficients"] * (self.coefficients is not None)
        return {name: constraints.independent(constraints.real, 3 if name == "logits" else 4) for name in names}

    @property
    def mean(self) -> Tensor:
        """float (..., C, H, W), in units of levels."""
        means, _ = self._component_moments()
        return (means * self.logits.softmax(-3).unsqueeze(-4)).sum(-3)

    @property
    def variance(self) -> Tensor:
        """float (..., C, H, W), in squared levels: within components and between them."""
        weights, (means, variances) = self.logits.softmax(-3).unsqueeze(-4), self._component_moments()
        from_mean = means - (means * weights).sum(-3, keepdim=True)
        return ((variances + from_mean.square()) * weights).sum(-3)

    def log_prob_per_pixel(self, x: Tensor, fused: bool = True) -> Tensor:
        """log p of each pixel in nats, all its channels together: float (..., H, W); fused: see `ImageDistribution`."""
        batch = self._check(x)
        if not fused:
            parameters = self.logits, self.means, self.log_scales, self.coefficients
            return numerics.log_mixture(x, *parameters, self.num_levels, self.tails)
        formula, tensors = self._fused()
        num_batch = len(self.batch_shape)
        x, *tensors = x.expand(*batch, *x.shape[-3:]), *(t.expand(*batch, *t.shape[num_batch:]) for t in tensors)
        return with_gradient(formula, x, *tensors, num_trailing=2)

    def conditional_log_pmf(self, x: Tensor | None = None) -> Tensor:
        """Every level's log-probability in nats, later channels given x's earlier ones: float (..., L, C, H, W). x is
        not needed for a single channel.

        ValueError if x is missing for several channels.
        """
        if x is None:
            if self.event_shape[0] > 1:
                raise ValueError("the levels of later channels depend on earlier ones: give the images, x")
            x = torch.zeros(self.event_shape, dtype=torch.uint8, device=self.means.device)
        batch = self._check(x)
        x = x.expand(*batch, *x.shape[-3:]).unsqueeze(-3)
        means = couple(self.means, self.coefficients, scale(x.to(self.means), self.num_levels), -4)
        given = numerics.log_mass(x, means, self.log_scales, self.num_levels, self.tails).cumsum(-4)
        given = torch.cat([torch.zeros_like(given[..., :1, :, :, :]), given[..., :-1, :, :, :]], -4)  # by earlier ones
        log_weights = (self.logits.unsqueeze(-4) + given).log_softmax(-3)
        log_weights, means, log_scales = (t.unsqueeze(-5) for t in (log_weights, means, self.log_scales))
        masses = numerics.masses(means, log_scales, self.num_levels, self.tails, 4)
        pmf = [(log_weights + log_mass).logsumexp(-3) for _, log_mass in masses]
        return torch.cat(pmf, -4)

    def cdf(self, x: Tensor) -> Tensor:
        """P(X <= x) of each sub-pixel on its own: float (..., C, H, W). NotImplementedError with coefficients."""
        if self.coefficients is not None:
            raise NotImplementedError("the cdf of coupled channels is not computed; it is there without coefficients")
        self._check(x)
        cdf = numerics.cdf(x.unsqueeze(-3), self.means, self.log_scales, self.num_levels, self.tails)
        return (cdf * self.logits.softmax(-3).unsqueeze(-4)).sum(-3).clamp(max=1)

    def entropy(self) -> Tensor:
        """In nats, of the batch shape. NotImplementedError for 3 channels, whose values are too many to sum over."""
        if self.event_shape[0] != 1:
            raise NotImplementedError(f"the entropy of {self.event_shape[0]} channels is not computed, only that of 1")
        return entropy_of(self.conditional_log_pmf()).sum((-4, -3, -2, -1))

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """uint8 (*sample_shape, ..., C, H, W): a component for each pixel, then its channels in order; int64 for more
        than 256 levels.
        """
        shape = torch.Size(sample_shape)
        logits = self.logits.expand(*shape, *self.logits.shape)
        waiting = torch.empty(logits.shape, device=logits.device, dtype=logits.dtype).exponential_(generator=generator)
        component = (logits - waiting.log()).argmax(-3, keepdim=True).unsqueeze(-4)  # Gumbel-max: (..., 1, 1, H, W)

        def chosen(t: Tensor) -> Tensor:
            t = t.expand(*shape, *t.shape)
            return t.gather(-3, component.expand(*t.shape[:-3], 1, *t.shape[-2:])).squeeze(-3)

        means, log_scales = chosen(self.means), chosen(self.log_scales)
        coefficients = None if self.coefficients is None else chosen(self.coefficients)
        x = torch.zeros_like(means)
        for c in range(self.event_shape[0]):
            shifted = couple(means, coefficients, scale(x, self.num_levels), -3)[..., c, :, :]
            u = torch.rand(shifted.shape, generator=generator, device=x.device, dtype=x.dtype)
            x[..., c, :, :] = numerics.quantile(u, shifted, log_scales[..., c, :, :], self.num_levels, self.tails)
        return x.to(levels_dtype(self.num_levels))

    def _component_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each component, (..., C, K, H, W), in units of levels."""
        rest = self.num_levels, self.tails
        if self.coefficients is None:
            return numerics.moments(self.means, self.log_scales, *rest)
        c0, c1, c2 = self.coefficients.unbind(-4)
        (red, green, blue), log_scales = self.means.unbind(-4), self.log_scales.unbind(-4)
        red, red_variance = numerics.moments(red, log_scales[0], *rest)
        r = scale(red, self.num_levels)
        green, green_variance = numerics.moments(green + c0 * r, log_scales[1], *rest)
        g = scale(green, self.num_levels)
        blue, blue_variance = numerics.moments(blue + c1 * r + c2 * g, log_scales[2], *rest)
        green_variance = green_variance + c0.square() * red_variance
        passed_on = c1.square() * red_variance + c2.square() * green_variance + 2 * c0 * c1 * c2 * red_variance
        variances = torch.stack([red_variance, green_variance, blue_variance + passed_on], -4)
        return torch.stack([red, green, blue], -4), variances

    def _fused(self) -> tuple[FusedMixture, Sequence[Tensor]]:
        """How log p of a pixel is computed along with its gradient, and the tensors that hold the parameters."""
        tensors = [self.logits, self.means, self.log_scales]
        tensors += [] if self.coefficients is None else [self.coefficients]
        return FusedMixture(self.num_levels, self.tails, _as_they_are), tensors


class _NetworkMixture(DiscretizedLogisticMixture):
    """With the parameters as a network gives them, so that the gradient is written where it is wanted."""

    def __init__(self, likelihood: LogisticMixture, params: Tensor):
        self._likelihood, self._params = likelihood, params
        self.num_levels, self.tails = likelihood.num_levels, likelihood.tails
        self.logits, self.means, self._unlimited, *self._before_tanh = likelihood.unpack(params)
        channels, _, *size = self.means.shape[-4:]
        ImageDistribution.__init__(self, params.shape[:-3], torch.Size([channels, *size]), validate_args=False)

    @lazy_property
    def log_scales(self) -> Tensor:
        return self._unlimited.clamp(self._likelihood.min_log_scale, self._likelihood.max_log_scale)

    @lazy_property
    def coefficients(self) -> Tensor | None:
        return self._before_tanh[0].tanh() if self._before_tanh else None

    def expand(self, batch_shape: Sequence[int], _instance=None) -> "_NetworkMixture":
        new = type(self)(self._likelihood, self._params.expand(*batch_shape, *self._params.shape[-3:]))
        new._validate_args = self._validate_args
        return new

    def _fused(self) -> tuple[FusedMixture, Sequence[Tensor]]:
        limits = self._likelihood.min_log_scale, self._likelihood.max_log_scale
        return FusedMixture(self.num_levels, self.tails, self._likelihood.unpack, True, *limits), [self._params]


def _as_they_are(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tensors


def published_log_prob_per_pixel(params: Tensor, x: Tensor, num_components: int = 10) -> Tensor:
    """The loss of the published PixelCNN++, negated, for comparison only: float (B, H, W), in nats.

    params: float (B, 10 K, H, W); x: uint8 (B, 3, H, W). Where a bin's mass is below 1e-5 it is replaced by density
    times bin width, which makes the result up to 2.15 nats per sub-pixel too small. Computed in the [-1, 1] image.
    Salimans et al. 2017: `discretized_mix_logistic_loss` in `nn.py` of openai/pixel-cnn. ValueError for other
    parameters and images.

    >>> params, x = torch.zeros(1, 10, 1, 1), torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    >>> published_log_prob_per_pixel(params, x, num_components=1), LogisticMixture(1)(params).log_prob_per_pixel(x)
    (tensor([[[-3.9312]]]), tensor([[[-3.9312]]]))
    """
    d = LogisticMixture(num_components)(params)
    if d.coefficients is None:
        raise ValueError(f"the published loss is for 3 channels, got parameters {tuple(params.shape)}")
    d._check(x)
    y = scale(x.to(d.means)).unsqueeze(2)
    inverse = torch.exp(-d.log_scales)
    centred = y - couple(d.means, d.coefficients, y, 1)
    upper, lower, middle = (inverse * (centred + shift / 255) for shift in (1, -1, 0))
    mass = upper.sigmoid() - lower.sigmoid()
    density = middle - d.log_scales - 2 * F.softplus(middle) - torch.tensor(127.5).log()
    inside = torch.where(mass > 1e-5, mass.clamp(min=1e-12).log(), density)
    log_mass = torch.where(y < -0.999, F.logsigmoid(upper), torch.where(y > 0.999, -F.softplus(lower), inside))
    return (log_mass.sum(1) + d.logits.log_softmax(1)).logsumexp(1)
