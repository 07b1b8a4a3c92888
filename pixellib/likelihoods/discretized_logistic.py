"""Discretised logistics: one per sub-pixel, or (see mixture.py) a mixture of them per pixel.

Salimans, Karpathy, Chen and Kingma, "PixelCNN++", ICLR 2017, section 2.1. The probability of a level is the difference
of the logistic's distribution function at the two ends of its bin, exactly: nothing is approximated by a density.
Computed in units of levels, where the bin ends x +- 1/2 are exact in floating point and the masses sum to one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution, constraints
from torch.distributions.utils import lazy_property

from pixellib.likelihoods.base import at_least_float32, check_images, check_params, levels_dtype, scale_levels

Tails = Literal["censored", "truncated"]
FAR = 40.0  # scales beyond the range: from there on a truncated logistic has its limiting shape to 17 digits
HUGE = 1e25  # the largest location in levels, so that float32 can still divide it by a scale and sum over an image
BEYOND = 1e28  # a bin end that takes the whole tail, whatever the location
SLICE = 2**18  # component evaluations that are computed at once, so that they stay in a processor's cache


@dataclass(frozen=True)
class DiscretizedLogistic:
    """Independent sub-pixels, each a logistic integrated over the bin of every level.

    Parameters: C means, then C log-scales, in units of the [-1, 1] image. scale: "bounded" puts the log-scale through
    tanh (so the scale is at least e^-1, 47 of 256 levels), "free" only limits it to [min_log_scale, max_log_scale].
    tails: "censored" gives the tails to the first and the last level, "truncated" discards and renormalises.
    """

    kind: ClassVar = "mass"
    coupled_channels: ClassVar = False
    scale: Literal["bounded", "free"] = "free"
    tails: Tails = "censored"
    num_levels: int = 256
    min_log_scale: float = -7.0
    max_log_scale: float = 7.0

    def __post_init__(self):
        if self.scale not in ("bounded", "free"):
            raise ValueError(f"unknown scale {self.scale!r}; choose bounded or free")
        check_settings(self)

    def num_params(self, channels: int) -> int:
        return 2 * channels

    def channel_index(self, channels: int) -> torch.LongTensor:
        return torch.arange(channels).repeat(2)

    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Nothing: the layer's own initialisation will do."""

    def __call__(self, params: Tensor) -> "LogisticMixtureImages":
        check_params("DiscretizedLogistic", params, 2)
        params = at_least_float32(params)
        if self.scale == "bounded":
            means, log_scales = params.chunk(2, -3)
            params = torch.cat([means, log_scales.tanh()], -3)
        return LogisticMixtureImages(params, self, "DiscretizedLogistic")

    @staticmethod
    def unpack(params: Tensor) -> tuple[Tensor, ...]:
        """Views of means and log-scales, each (..., C, 1, H, W), after logits (..., 1, H, W) that are zero."""
        means, log_scales = params.unsqueeze(-3).chunk(2, -4)
        return torch.zeros_like(means[..., 0, :, :, :]), means, log_scales


class LogisticMixtureImages(Distribution):
    """Images whose pixels follow a mixture of discretised logistics; with K = 1, one logistic per sub-pixel.

    params: float32 or float64 (..., P, H, W), which `settings.unpack` takes apart. A value broadcasts against the batch
    shape, so that M samples of a latent can share one image. The attributes are what the parameters mean:
    logits (..., K, H, W), a pixel's component being shared by its channels; means, log_scales (..., C, K, H, W), in
    units of the [-1, 1] image; coefficients (..., 3, K, H, W) or None: c0, c1, c2 of a pixel's coupled channels.
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, params: Tensor, settings, name: str):
        self.params, self.settings, self.name = params, settings, name
        self.tails, self.num_levels = settings.tails, settings.num_levels
        self.logits, self.means, *self._others = settings.unpack(params)
        channels, _, *size = self.means.shape[-4:]
        super().__init__(params.shape[:-3], torch.Size([channels, *size]), validate_args=False)

    @lazy_property
    def log_scales(self) -> Tensor:
        return self._others[0].clamp(self.settings.min_log_scale, self.settings.max_log_scale)

    @lazy_property
    def coefficients(self) -> Tensor | None:
        return self._others[1].tanh() if len(self._others) > 1 else None

    @property
    def support(self):
        return constraints.independent(constraints.integer_interval(0, self.num_levels - 1), 3)

    @property
    def mean(self) -> Tensor:
        """float (..., C, H, W), in units of levels.

        Exact without coefficients. With them each component's later channels are taken at the mean of its earlier
        ones, which neglects only what rounding and the ends of the range do to a shift.
        """
        means = torch.zeros_like(self.means)  # of each component, in levels
        for c in range(self.event_shape[0]):
            shifted = couple(self.means, self.coefficients, scale_levels(means, self.num_levels), -4)[..., c, :, :, :]
            shifted, log_scales = shifted.unsqueeze(-4), self.log_scales[..., c, :, :, :].unsqueeze(-4)
            mean = sum(
                (v * self._log_mass(v, shifted, log_scales).exp()).sum(-4, keepdim=True)
                for v in self._some_levels(shifted, 3)
            )
            means = torch.cat([means[..., :c, :, :, :], mean, means[..., c + 1 :, :, :, :]], -4)
        return (means * self.logits.softmax(-3).unsqueeze(-4)).sum(-3)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, float32 (or float64) of the batch shape.

        x: integers 0..L-1, uint8 (B, C, H, W). ValueError for other values or sizes.
        """
        return self.log_prob_per_pixel(x).sum((-2, -1))

    def log_prob_per_pixel(self, x: Tensor) -> Tensor:
        """log p of each pixel in nats, all its channels together: float (..., H, W)."""
        batch = check_images(self.name, x, self.batch_shape, self.event_shape, self.num_levels)
        params, x = (t.expand(*batch, *t.shape[-3:]).reshape(-1, *t.shape[-3:]) for t in (self.params, x))
        log_p = _LogMixture.apply(params, x, self.settings)
        return log_p.view(*batch, *log_p.shape[-2:])

    def conditional_log_pmf(self, x: Tensor) -> Tensor:
        """Every level's log-probability in nats, later channels given x's earlier ones: float (..., L, C, H, W)."""
        batch = check_images(self.name, x, self.batch_shape, self.event_shape, self.num_levels)
        x = x.expand(*batch, *x.shape[-3:]).unsqueeze(-3)
        means = couple(self.means, self.coefficients, scale_levels(x.to(self.means), self.num_levels), -4)
        given = self._log_mass(x, means, self.log_scales).cumsum(-4)  # of this channel and those before it
        given = torch.cat([torch.zeros_like(given[..., :1, :, :, :]), given[..., :-1, :, :, :]], -4)
        log_weights = (self.logits.unsqueeze(-4) + given).log_softmax(-3)
        log_weights, means, log_scales = (t.unsqueeze(-5) for t in (log_weights, means, self.log_scales))
        pmf = [(log_weights + self._log_mass(v, means, log_scales)).logsumexp(-3) for v in self._some_levels(means, 4)]
        return torch.cat(pmf, -4)

    def sample(self, sample_shape=(), generator: torch.Generator | None = None) -> Tensor:
        """uint8 (*sample_shape, ..., C, H, W): a component for each pixel, then its channels in order."""
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
            shifted = couple(means, coefficients, scale_levels(x, self.num_levels), -3)[..., c, :, :]
            u = torch.rand(shifted.shape, generator=generator, device=x.device, dtype=x.dtype)
            x[..., c, :, :] = self._quantile(u, shifted, log_scales[..., c, :, :])
        return x.to(levels_dtype(self.num_levels))

    def _some_levels(self, means: Tensor, num_dims: int) -> Iterator[Tensor]:
        """All levels, as many at a time as stay in the cache, before `num_dims` dimensions of size one."""
        levels = torch.arange(self.num_levels, device=means.device).view(-1, *[1] * num_dims)
        yield from levels.split(max(1, SLICE // max(1, means.numel())))

    def _log_mass(self, x: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """log P(x) of each component; x integers that broadcast against the means."""
        linear, product, *_ = _log_mass(x.to(means), means, log_scales, self.num_levels, self.tails)
        return linear + product.log()

    def _quantile(self, u: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """The level at which a logistic's distribution function passes u in [0, 1)."""
        half = (self.num_levels - 1) / 2
        scale, centre = half * log_scales.exp(), half * (means + 1)
        tiny = torch.finfo(u.dtype).eps / 2
        if self.tails == "truncated":
            top = self.num_levels - 0.5
            centre = centre.clamp(-0.5 - FAR * scale, top + FAR * scale)
            low, high = (-0.5 - centre) / scale, (top - centre) / scale
            mirrored = low + high > 0  # most of the mass lies below: measure it from above, where numbers are small
            low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
            u = low.sigmoid() + u.clamp(min=tiny) * (high.sigmoid() - low.sigmoid())
            standard = torch.where(mirrored, -1.0, 1.0) * (u.log() - torch.log1p(-u))
        else:
            standard = torch.logit(u, tiny)
        return (centre + scale * standard).round().clamp(0, self.num_levels - 1)


def check_settings(settings) -> None:
    """ValueError for edges, levels or limits of the log-scale that a discretised logistic cannot have."""
    if settings.tails not in ("censored", "truncated"):
        raise ValueError(f"unknown edges {settings.tails!r}; choose absorb or truncate")
    if not 2 <= settings.num_levels <= 2**16:
        raise ValueError(f"num_levels must be in 2..65536, got {settings.num_levels}")
    low, high = settings.min_log_scale, settings.max_log_scale
    if not -20 <= low < high <= 12:
        raise ValueError(f"log-scales must be limited within [-20, 12], got {low}, {high}")


def couple(means: Tensor, coefficients: Tensor | None, y: Tensor, channel: int) -> Tensor:
    """Means shifted by a pixel's earlier channels y in [-1, 1]; `channel` is the dimension of the channels."""
    if coefficients is None:
        return means
    (red, green, blue), (c0, c1, c2), (r, g, _) = (t.unbind(channel) for t in (means, coefficients, y))
    return torch.stack([red, green + c0 * r, blue + c1 * r + c2 * g], channel)


def _interval(upper: Tensor, lower: Tensor, width: Tensor, share: Tensor, slopes: bool):
    """The logarithm of sigmoid(upper) - sigmoid(lower), as `linear + log(product)`, and its derivatives.

    sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)); `width` is a - b, `share` the last factor. With
    log sigmoid(s) = min(s, 0) + log sigmoid(|s|) all that can be large stands in `linear`, and `product` is a number
    that several intervals can multiply before one logarithm is taken. With slopes also the derivatives with respect to
    a shift of both ends, negated, and to the logarithm of the scale that divides them.
    """
    at_upper, at_lower = upper.abs().sigmoid_(), lower.abs().sigmoid_()
    linear = upper.clamp(max=0) - lower.clamp(min=0)
    product = at_upper * at_lower * share
    if not slopes:
        return linear, product, None, None
    beyond_upper = 0.5 - at_upper.sub_(0.5).copysign_(upper)  # sigmoid(-upper)
    below_lower = 0.5 + at_lower.sub_(0.5).copysign_(lower)  # sigmoid(lower)
    stretch = (width - width / share).addcmul_(lower, below_lower).addcmul_(upper, beyond_upper, value=-1)
    return linear, product, below_lower.sub_(beyond_upper), stretch


def _log_mass(x: Tensor, means: Tensor, log_scales: Tensor, num_levels: int, tails: Tails, slopes: bool = False):
    """log P(x) as `linear + log(product)`; with slopes its derivatives by mean and log-scale. x float, broadcast."""
    half, last = (num_levels - 1) / 2, num_levels - 1
    inverse = torch.exp(-log_scales - math.log(half))
    centre = (half * means + half).clamp(-HUGE, HUGE)
    share = -torch.expm1(-inverse)
    if tails == "truncated":
        upper, lower = x + 0.5, x - 0.5
        centre = centre.clamp(-0.5 - FAR / inverse, last + 0.5 + FAR / inverse)
    else:
        upper, lower = (x + 0.5).masked_fill(x == last, BEYOND), (x - 0.5).masked_fill(x == 0, -BEYOND)
        share = torch.maximum(share, ((x == 0) | (x == last)).to(share))
    upper, lower = (upper - centre) * inverse, (lower - centre) * inverse
    linear, product, slope, stretch = _interval(upper, lower, inverse, share, slopes)
    if tails == "truncated":
        top, bottom, width = (last + 0.5 - centre) * inverse, (-0.5 - centre) * inverse, num_levels * inverse
        whole = _interval(top, bottom, width, -torch.expm1(-width), slopes)
        linear, product = linear - whole[0], product / whole[1]
        if slopes:
            slope, stretch = slope - whole[2], stretch - whole[3]
    return linear, product, slope.mul_(inverse).mul_(half) if slopes else None, stretch


class _LogMixture(torch.autograd.Function):
    """log p of each pixel (N, H, W), whose gradient is computed along with it, slice by slice.

    So nothing but the gradient is kept for the backward pass, and what lies between stays in the processor's cache.
    The same with PyTorch's own differentiation is the tests' reference.
    """

    @staticmethod
    def forward(ctx, params: Tensor, x: Tensor, settings) -> Tensor:
        """params float (N, P, H, W), x integers (N, C, H, W)."""
        slopes = torch.empty_like(params) if ctx.needs_input_grad[0] else None
        step = max(1, SLICE // max(1, params[:1].numel() // 3))
        log_p = params.new_empty(params.shape[:1] + params.shape[2:])
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            here = params[part].contiguous()  # of a channels-last network, a slice at a time
            to_here = None if slopes is None else torch.empty_like(here)
            log_p[part] = _log_mixture(here, x[part], settings, to_here)
            if slopes is not None:
                slopes[part] = to_here
        ctx.save_for_backward(slopes)
        return log_p

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (slopes,) = ctx.saved_tensors
        return slopes * grad.unsqueeze(1), None, None


def _log_mixture(params: Tensor, x: Tensor, settings, slopes: Tensor | None) -> Tensor:
    """log p of each pixel of a slice; writes its derivatives by params into `slopes` if given."""
    logits, means, raw_log_scales, *coefficients = settings.unpack(params)
    log_scales = raw_log_scales.clamp(settings.min_log_scale, settings.max_log_scale)
    x = x.to(means.dtype)
    y = scale_levels(x, settings.num_levels).unsqueeze(2)
    if coefficients:
        coefficients = [coefficients[0].tanh()]
        means = couple(means, *coefficients, y, 1)
    linear, product, by_mean, by_log_scale = _log_mass(
        x.unsqueeze(2), means, log_scales, settings.num_levels, settings.tails, slopes=slopes is not None
    )
    log_prior = logits.log_softmax(1)
    log_joint = log_prior + sum(linear.unbind(1)) + math.prod(product.unbind(1)).log_()
    log_p = log_joint.logsumexp(1)
    if slopes is not None:
        to_logits, to_means, to_log_scales, *to_coefficients = settings.unpack(slopes)
        posterior = (log_joint - log_p.unsqueeze(1)).exp_()
        torch.sub(posterior, log_prior.exp_(), out=to_logits)
        posterior = posterior.unsqueeze(1)
        torch.mul(by_mean, posterior, out=to_means)
        torch.mul(by_log_scale, posterior, out=to_log_scales)
        to_log_scales.mul_(raw_log_scales == log_scales)  # no slope beyond the limits
        if coefficients:
            steepness = 1 - coefficients[0].square_()  # of tanh
            torch.mul(to_means[:, 1:], y[:, :1], out=to_coefficients[0][:, :2])
            torch.mul(to_means[:, 2], y[:, 1], out=to_coefficients[0][:, 2])
            to_coefficients[0].mul_(steepness)
    return log_p
