"""The arithmetic of discretised logistics: masses of levels, their derivatives, distribution function and quantiles.

Salimans, Karpathy, Chen and Kingma, "PixelCNN++", ICLR 2017, section 2.1. The probability of a level is the difference
of the logistic's distribution function at the two ends of its bin, exactly: nothing is approximated by a density.
Computed in units of levels, where the bin ends x +- 1/2 are exact in floating point and the masses sum to one.

There are two ways to a log-probability. `log_mass` and `log_mixture` are made of differentiable operations of PyTorch.
`FusedMixture` computes log p of a pixel and its gradient in one pass, which is faster; it uses `log_mass` for
scales beyond the range of its own formula. Means and log-scales are in units of the image scaled to [-1, 1].
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pixellib.data.transforms import scale
from pixellib.likelihoods.base import check_choice, check_int, check_number, known

Tails = Literal["censored", "truncated"]
FAR = 40.0  # scales beyond the range: from there on a truncated logistic has its limiting shape to 17 digits
HUGE = 1e25  # the largest location in levels, so that float32 can still divide it by a scale and sum over an image
BEYOND = 1e28  # a bin end that takes the whole tail, whatever the location
WIDE = 20.0  # the largest log-scale of the fused formula, whose product over three channels stays a float32
WIDEST = 60.0  # the largest log-scale whose quantiles are computed: a wider one has the same levels
SLICE = 2**18  # component evaluations that are computed at once, so that they stay in a processor's cache


def check_levels(num_levels: int, tails: Tails) -> None:
    """ValueError naming the argument for levels or tails that a discretised logistic cannot have."""
    check_int("num_levels", num_levels, 2, 2**16)
    check_choice("tails", tails, "censored", "truncated")


def check_limits(min_log_scale: float, max_log_scale: float | None) -> None:
    """ValueError naming the argument for limits of the log-scale that make no sense."""
    check_number("min_log_scale", min_log_scale)
    if min_log_scale < -20:
        raise ValueError(f"min_log_scale must be at least -20, got {min_log_scale}")
    if max_log_scale is not None:
        check_number("max_log_scale", max_log_scale)
        if max_log_scale <= min_log_scale:
            raise ValueError(f"max_log_scale must be above min_log_scale, got {max_log_scale} and {min_log_scale}")


def couple(means: Tensor, coefficients: Tensor | None, y: Tensor, channel: int) -> Tensor:
    """Means shifted by a pixel's earlier channels y in [-1, 1]; `channel` is the dimension of the channels."""
    if coefficients is None:
        return means
    (red, green, blue), (c0, c1, c2), (r, g, _) = (t.unbind(channel) for t in (means, coefficients, y))
    return torch.stack([red, green + c0 * r, blue + c1 * r + c2 * g], channel)


def log_mass(x: Tensor, means: Tensor, log_scales: Tensor, num_levels: int, tails: Tails) -> Tensor:
    """log P(x) of logistics, in nats; x integers or floats that broadcast against the parameters.

    With u and l the bin's ends in units of the scale, sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - e^(l - u)).
    """
    last = num_levels - 1
    x = x.to(means.dtype)
    centre, log_inverse = _standardised(means, log_scales, num_levels, tails)
    inverse = log_inverse.exp()
    if tails == "truncated":
        share = _log_share(inverse) - _log_share(num_levels * inverse)
        share = torch.where(log_scales > WIDE, -math.log(num_levels), share)
        whole = F.logsigmoid((last + 0.5 - centre) * inverse) + F.logsigmoid((0.5 + centre) * inverse)
        return F.logsigmoid((x + 0.5 - centre) * inverse) + F.logsigmoid((centre - x + 0.5) * inverse) + share - whole
    upper = torch.where(x == last, 0.0, F.logsigmoid((x + 0.5 - centre) * inverse))
    lower = torch.where(x == 0, 0.0, F.logsigmoid((centre - x + 0.5) * inverse))
    share = torch.where(log_scales > WIDE, log_inverse, _log_share(inverse))
    return upper + lower + torch.where((x == 0) | (x == last), 0.0, share)


def cdf(x: Tensor, means: Tensor, log_scales: Tensor, num_levels: int, tails: Tails) -> Tensor:
    """P(X <= x) of logistics."""
    last, x = num_levels - 1, x.to(means.dtype)
    centre, log_inverse = _standardised(means, log_scales, num_levels, tails)
    inverse = log_inverse.exp()
    upper = (x + 0.5 - centre) * inverse
    if tails == "censored":
        return torch.where(x >= last, 1.0, upper.sigmoid())
    top = (last + 0.5 - centre) * inverse
    ratio = torch.where(log_scales > WIDE, ((x + 1) / num_levels).log(), _log_share((x + 1) * inverse))
    ratio = ratio - torch.where(log_scales > WIDE, 0.0, _log_share(num_levels * inverse))
    return (F.logsigmoid(upper) - F.logsigmoid(top) + ratio).exp()


def quantile(u: Tensor, means: Tensor, log_scales: Tensor, num_levels: int, tails: Tails) -> Tensor:
    """The level at which a logistic's distribution function passes u in [0, 1), as a float."""
    half, edge = (num_levels - 1) / 2, num_levels / 2
    size = half * log_scales.clamp(max=WIDEST).exp()
    if tails == "censored":
        standard = torch.logit(u, torch.finfo(u.dtype).eps / 2)
        return (half * (means + 1) + size * standard).round().clamp(0, num_levels - 1)
    # Levels are counted from the end of the range further from the mean, where numbers are small. The ends lie `below`
    # scales below the mean and `above` scales above it, and what is more than `near` below holds no mass.
    distance = torch.minimum((half * means).abs_(), (FAR * size).add_(edge))
    below, above = (edge + distance).div_(size), (edge - distance).div_(size)
    near = torch.minimum(below, FAR - above.clamp(max=0))
    # With F the sigmoid, F(d - near) = F(-near) + u (F(above) - F(-near)) is solved for d, without cancellation in
    # small intervals or large ones.
    share = u * _one_minus_exp(near + above).mul_(above.sigmoid())
    d = torch.log1p(share * near.exp().add_(1) / (1 - share))
    steps = (below - near + d).mul_(size)
    return torch.where(means < 0, num_levels - 0.5 - steps, steps - 0.5).round().clamp(0, num_levels - 1)


def moments(means: Tensor, log_scales: Tensor, num_levels: int, tails: Tails) -> tuple[Tensor, Tensor]:
    """Mean and variance of logistics in units of levels, by summing over the levels; each of the shape of the means."""
    means, log_scales = (t.unsqueeze(0) for t in torch.broadcast_tensors(means, log_scales))
    origin = ((means + 1) * ((num_levels - 1) / 2)).detach().clamp(0, num_levels - 1)  # near the mean, for digits
    first, second = torch.zeros_like(means[0]), torch.zeros_like(means[0])
    for levels, log_masses in masses(means, log_scales, num_levels, tails, means.dim() - 1):
        mass, distance = log_masses.exp(), levels - origin
        first = first + (distance * mass).sum(0)
        second = second + (distance.square() * mass).sum(0)
    return first + origin[0], (second - first.square()).clamp(min=0)


def masses(
    means: Tensor, log_scales: Tensor, num_levels: int, tails: Tails, num_dims: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """All levels, (L, 1, ..) with `num_dims` dimensions of size one, and log P of them, as many at a time as stay in
    the cache. Means and log-scales have a dimension of size one where the levels belong.
    """
    wanted = torch.is_grad_enabled() and (means.requires_grad or log_scales.requires_grad)
    widest = known(log_scales.max()) if log_scales.numel() and not wanted else None
    quick = widest is not None and widest <= WIDE
    levels = torch.arange(num_levels, device=means.device).view(-1, *[1] * num_dims)
    for x in levels.split(max(1, SLICE // max(1, means.numel()))):
        if quick:
            linear, product, *_ = _mass_and_slopes(x.to(means), means, log_scales, num_levels, tails, slopes=False)
            yield x, linear + product.log()
        else:
            yield x, log_mass(x, means, log_scales, num_levels, tails)


def log_mixture(
    x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor, coefficients: Tensor | None, levels: int, tails: Tails
) -> Tensor:
    """log p of each pixel, (..., H, W); x (..., C, H, W), logits (..., K, H, W), the others (..., C, K, H, W)."""
    x = x.unsqueeze(-3)
    means = couple(means, coefficients, scale(x.to(means), levels), -4)
    return (logits.log_softmax(-3) + log_mass(x, means, log_scales, levels, tails).sum(-4)).logsumexp(-3)


@dataclass(frozen=True)
class FusedMixture:
    """log p of each pixel under a mixture, and its derivatives with respect to whatever holds the parameters.

    views: takes the tensors that hold the parameters apart, into views of logits (N, K, H, W), means, log-scales and,
    if there are any, coefficients, each (N, C, K, H, W). raw: whether these are a network's output, so that
    coefficients go through tanh and log-scales are limited to [min_log_scale, max_log_scale].

    A limited log-scale has the derivative of the limit it is held at, but zero where raising log p would drive it
    further out: it does not drift away while the limit holds it, and comes back as soon as log p asks for it.

    A function for `with_gradient`, with two trailing dimensions.
    """

    num_levels: int
    tails: Tails
    views: Callable[..., Sequence[Tensor]]
    raw: bool = False
    min_log_scale: float = -math.inf
    max_log_scale: float | None = None

    def __call__(self, x: Tensor, tensors: Sequence[Tensor], wanted: bool) -> tuple[Tensor, list[Tensor]]:
        """x integers (..., C, H, W); the tensors have the same batch dimensions."""
        batch = x.shape[:-3]
        x, *tensors = (t.reshape(batch.numel(), *t.shape[len(batch) :]) for t in (x, *tensors))
        derivatives = [torch.empty_like(t) for t in tensors] if wanted else []
        log_scales = self.views(*tensors)[2]
        low, high = _extremes(log_scales)
        highest = math.inf if self.max_log_scale is None else self.max_log_scale
        limited, wide = not (self.min_log_scale <= low and high <= highest), min(high, highest) > WIDE
        step = max(1, SLICE // max(1, sum(t[:1].numel() for t in tensors) // 3))
        log_p = log_scales.new_empty(x.shape[:1] + x.shape[2:])
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            pieces = [t[part].contiguous() for t in tensors]  # of a channels-last network, a slice at a time
            slopes = [torch.empty_like(t) for t in pieces] if wanted else []
            log_p[part] = self._slice(x[part], pieces, slopes, limited, wide)
            for whole, piece in zip(derivatives, slopes, strict=True):
                whole[part] = piece
        unflatten = [t.view(*batch, *t.shape[1:]) if len(batch) != 1 else t for t in (log_p, *derivatives)]
        return unflatten[0], unflatten[1:]

    def _slice(self, x: Tensor, tensors: list[Tensor], slopes: list[Tensor], limited: bool, wide: bool) -> Tensor:
        """log p of each pixel of a slice; writes derivatives into `slopes`, if there are any."""
        logits, means, log_scales, *coefficients = unlimited = self.views(*tensors)
        if limited:
            log_scales = log_scales.clamp(self.min_log_scale, self.max_log_scale)
        if self.raw and coefficients:
            coefficients = [coefficients[0].tanh()]
        targets = self.views(*slopes) if slopes else None
        formula = self._by_differentiation if wide else self._in_closed_form
        log_p = formula(x, [logits, means, log_scales, *coefficients], targets)
        if targets is not None and limited:
            targets[2].mul_((unlimited[2] - log_scales).mul_(targets[2]).le_(0))
        if targets is not None and self.raw and coefficients:
            targets[3].mul_(1 - coefficients[0].square_())  # the derivative of tanh
        return log_p

    def _by_differentiation(self, x: Tensor, parameters: list[Tensor], targets: Sequence[Tensor] | None) -> Tensor:
        """By PyTorch's own differentiation of the plain formula, which is exact for any scale."""
        rest = [None] * (4 - len(parameters)) + [self.num_levels, self.tails]
        if targets is None:
            return log_mixture(x, *parameters, *rest)
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in parameters]
            log_p = log_mixture(x, *leaves, *rest)
            gradients = torch.autograd.grad(log_p.sum(), leaves, materialize_grads=True)
        for target, gradient in zip(targets, gradients, strict=True):
            target.copy_(gradient)
        return log_p.detach()

    def _in_closed_form(self, x: Tensor, parameters: list[Tensor], targets: Sequence[Tensor] | None) -> Tensor:
        logits, means, log_scales, *coefficients = parameters
        x = x.to(means.dtype)
        y = scale(x, self.num_levels).unsqueeze(2)
        if coefficients:
            means = couple(means, *coefficients, y, 1)
        linear, product, by_mean, by_log_scale = _mass_and_slopes(
            x.unsqueeze(2), means, log_scales, self.num_levels, self.tails, slopes=targets is not None
        )
        log_prior = logits.log_softmax(1)
        log_joint = log_prior + sum(linear.unbind(1)) + math.prod(product.unbind(1)).log_()
        log_p = log_joint.logsumexp(1)
        if targets is not None:
            to_logits, to_means, to_log_scales, *to_coefficients = targets
            posterior = (log_joint - log_p.unsqueeze(1)).exp_()
            torch.sub(posterior, log_prior.exp_(), out=to_logits)
            posterior = posterior.unsqueeze(1)
            torch.mul(by_mean, posterior, out=to_means)
            torch.mul(by_log_scale, posterior, out=to_log_scales)
            if coefficients:
                torch.mul(to_means[:, 1:], y[:, :1], out=to_coefficients[0][:, :2])
                torch.mul(to_means[:, 2], y[:, 1], out=to_coefficients[0][:, 2])
        return log_p


def _extremes(t: Tensor) -> tuple[float, float]:
    """The smallest and the largest element, in one transfer from the device; twice 0 if there is none."""
    low, high = torch.stack([t.amin(), t.amax()]).tolist() if t.numel() else (0.0, 0.0)
    return low, high


def _standardised(means: Tensor, log_scales: Tensor, num_levels: int, tails: Tails) -> tuple[Tensor, Tensor]:
    """Locations in levels, kept where floating point can divide them, and minus the logarithm of scales in levels.

    A location that is moved keeps the derivative it would have had.
    """
    half, top = (num_levels - 1) / 2, num_levels - 0.5
    log_inverse = -log_scales - math.log(half)
    with torch.no_grad():
        centre = (half * means + half).clamp(-HUGE, HUGE)
        if tails == "truncated":
            size = FAR * (-log_inverse).exp()
            centre = centre.clamp(-0.5 - size, top + size)
    return centre.detach() + half * (means - means.detach()), log_inverse


def _log_share(width: Tensor) -> Tensor:
    """log(1 - e^(-width)), finite with finite derivatives for width 0, where the caller has another formula."""
    return torch.log(-torch.expm1(-width.clamp(min=1e-30)))


def _one_minus_exp(width: Tensor) -> Tensor:
    """1 - e^(-width) for positive widths, as exact as -expm1(-width) and faster on many processors."""
    t = torch.tanh(0.5 * width)
    return (t + t).div_(1 + t)


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


def _mass_and_slopes(x: Tensor, means: Tensor, log_scales: Tensor, num_levels: int, tails: Tails, slopes: bool):
    """log P(x) as `linear + log(product)`; with slopes its derivatives by mean and log-scale. x float, broadcast."""
    half, last = (num_levels - 1) / 2, num_levels - 1
    inverse = torch.exp(-log_scales - math.log(half))
    centre = (half * means + half).clamp(-HUGE, HUGE)
    share = _one_minus_exp(inverse)
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
        whole = _interval(top, bottom, width, _one_minus_exp(width), slopes)
        linear, product = linear - whole[0], product / whole[1]
        if slopes:
            slope, stretch = slope - whole[2], stretch - whole[3]
    return linear, product, slope.mul_(inverse).mul_(half) if slopes else None, stretch
