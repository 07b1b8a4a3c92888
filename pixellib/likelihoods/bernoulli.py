"""The Bernoulli observation model of binarised images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from pixellib.likelihoods.base import (
    ImageDistribution,
    Kind,
    OneOf,
    at_least_float32,
    check_int,
    check_params,
    check_tensors,
    known,
)
from pixellib.likelihoods.with_gradient import with_gradient


@dataclass(frozen=True)
class Bernoulli:
    """p(x = 255) = sigmoid(params), independently for each sub-pixel; values are 0 or 255.

    Parameters: one logit for each channel.

    >>> params = torch.zeros(2, 1, 2, 2)
    >>> images = torch.randint(2, (2, 1, 2, 2), dtype=torch.uint8) * 255
    >>> Bernoulli()(params).log_prob(images)  # four times log 1/2
    tensor([-2.7726, -2.7726])
    """

    kind: ClassVar[Kind] = "mass"
    coupled_channels: ClassVar[bool] = False
    num_levels: ClassVar[int] = 256

    def num_params(self, channels: int) -> int:
        check_int("channels", channels, 1)
        return channels

    def channel_index(self, channels: int) -> torch.LongTensor:
        return torch.arange(self.num_params(channels))

    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Nothing: the layer's own initialisation will do."""

    def __call__(self, params: Tensor) -> "BernoulliImages":
        check_params(type(self).__name__, params, 1)
        return BernoulliImages(params, validate_args=False)._values_checked()


class BernoulliImages(ImageDistribution):
    """Binary images, values 0 or 255, with independent sub-pixels.

    logits: float (..., C, H, W). bfloat16 and float16 logits are converted to float32 inside.

    `log_prob` computes its gradient along with its value (see `with_gradient`); `log_prob_per_pixel` is the textbook's
    formula, and can be differentiated in any way. `entropy` is exact. `cdf` is each sub-pixel's own: (..., C, H, W).

    >>> d = BernoulliImages(torch.zeros(2, 1, 28, 28))
    >>> d
    BernoulliImages(logits: torch.Size([2, 1, 28, 28]))
    >>> d.sample((5,)).shape, d.entropy() / 784
    (torch.Size([5, 2, 1, 28, 28]), tensor([0.6931, 0.6931]))
    """

    arg_constraints: ClassVar = {"logits": constraints.independent(constraints.real, 3)}
    support: ClassVar = constraints.independent(OneOf(0, 255), 3)
    values = (0, 255)  # what the entries of conditional_log_pmf stand for

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None):
        check_tensors(type(self).__name__, 3, logits=logits)
        self.logits = logits
        super().__init__(logits.shape[:-3], logits.shape[-3:], validate_args)

    @property
    def mean(self) -> Tensor:
        """float (..., C, H, W), in 0..255."""
        return 255 * torch.sigmoid(at_least_float32(self.logits))

    @property
    def variance(self) -> Tensor:
        """float (..., C, H, W), in squared levels."""
        logits = at_least_float32(self.logits)
        return 255**2 * torch.sigmoid(logits) * torch.sigmoid(-logits)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, float32 (or float64) of the batch shape.

        x: uint8 (..., C, H, W), values 0 or 255. ValueError for other values, types or sizes.
        """
        batch, ones = self._check(x), x.bool()  # quicker than a comparison
        logits = self.logits.expand(*batch, *self.event_shape).flatten(-3)
        ones = ones.reshape(*[1] * (logits.dim() + 2 - ones.dim()), *ones.shape[:-3], -1)
        return with_gradient(_log_prob, ones, logits, num_trailing=0)

    def log_prob_per_pixel(self, x: Tensor, fused: bool = True) -> Tensor:
        """log p of each pixel in nats, summed over its channels: float (..., H, W); fused has no effect."""
        batch = self._check(x)
        logits = at_least_float32(self.logits).expand(*batch, *self.event_shape)
        share = x.bool().to(logits).expand_as(logits)
        return -F.binary_cross_entropy_with_logits(logits, share, reduction="none").sum(-3)

    def conditional_log_pmf(self, x: Tensor | None = None) -> Tensor:
        """log-probability of the two values 0 and 255 in nats: float (..., 2, C, H, W). x is not needed, since channels
        are independent.
        """
        logits = at_least_float32(self.logits)
        return self._given(x, torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], -4))

    def cdf(self, x: Tensor) -> Tensor:
        """P(X <= x) of each sub-pixel: float (..., C, H, W)."""
        batch = self._check(x)
        black = torch.sigmoid(-at_least_float32(self.logits)).expand(*batch, *self.event_shape)
        return black.masked_fill(x == 255, 1.0)

    def entropy(self) -> Tensor:
        """In nats, of the batch shape."""
        logits = at_least_float32(self.logits)
        return F.binary_cross_entropy_with_logits(logits, logits.sigmoid(), reduction="none").sum((-3, -2, -1))

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """uint8 (*sample_shape, ..., C, H, W), values 0 or 255."""
        p = torch.sigmoid(at_least_float32(self.logits))
        u = torch.rand(torch.Size(sample_shape) + p.shape, generator=generator, device=p.device, dtype=p.dtype)
        return (u < p).to(torch.uint8) * 255

    def _check(self, x: Tensor) -> torch.Size:
        batch = super()._check(x)
        if not self._validate_args or x.numel() == 0:
            return batch
        x = x if x.dtype == torch.uint8 else x.to(torch.int16)
        if known(x.bool().to(x.dtype).mul_(255).sub_(x).amax()):
            raise ValueError("BernoulliImages expects binary images (0 or 255): binarise grey values first")
        return batch


@dataclass(frozen=True)
class GreyBernoulli(Bernoulli):
    """Binary cross-entropy on grey values: widely used, and not a likelihood of them.

    It scores x / 255 as if it were the outcome of a coin, but its "probabilities" of the 256 levels do not sum to one,
    and its samples are 0 or 255.

    >>> levels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    >>> GreyBernoulli()(torch.zeros(256, 1, 1, 1)).log_prob(levels).exp().sum()
    tensor(128.)
    """

    kind: ClassVar[Kind] = "improper"

    def __call__(self, params: Tensor) -> "GreyBernoulliImages":
        check_params("GreyBernoulli", params, 1)
        return GreyBernoulliImages(params, validate_args=False)._values_checked()


class GreyBernoulliImages(BernoulliImages):
    """What `GreyBernoulli` makes of grey images; logits: float (..., C, H, W).

    The support is 0..255, on which `log_prob` is minus a cross-entropy and no log-probability. `sample`, `mean`,
    `variance` and `conditional_log_pmf` are those of the binary images. There is no `cdf` and no `entropy`.
    """

    support: ClassVar = constraints.independent(constraints.integer_interval(0, 255), 3)
    has_enumerate_support = False

    def log_prob(self, x: Tensor) -> Tensor:
        """Minus the cross-entropy in nats, float32 (or float64) of the batch shape; x: integers 0..255."""
        return self.log_prob_per_pixel(x).sum((-2, -1))

    def log_prob_per_pixel(self, x: Tensor, fused: bool = True) -> Tensor:
        """Minus the cross-entropy of each pixel in nats, summed over its channels: float (..., H, W)."""
        batch = self._check(x)
        logits = at_least_float32(self.logits).expand(*batch, *self.event_shape)
        share = x.to(logits).expand_as(logits) / 255
        return -F.binary_cross_entropy_with_logits(logits, share, reduction="none").sum(-3)

    def cdf(self, x: Tensor) -> Tensor:
        raise NotImplementedError("GreyBernoulliImages has no cdf: its probabilities of grey levels do not sum to one")

    def entropy(self) -> Tensor:
        raise NotImplementedError(
            "GreyBernoulliImages has no entropy: its probabilities of grey levels do not sum to one"
        )

    def _check(self, x: Tensor) -> torch.Size:
        return ImageDistribution._check(self, x)


def _log_prob(ones: Tensor, tensors: Sequence[Tensor], wanted: bool) -> tuple[Tensor, list[Tensor]]:
    """sum_d [x_d l_d - softplus(l_d)], written so that no logarithm is taken per pixel.

    With s = l where x is 1, else -l, the term is log sigmoid(s) = min(s, 0) + log sigmoid(|s|). Since sigmoid(|s|) lies
    in [1/2, 1], sixteen pixels can be multiplied before one logarithm is taken. The gradient x - sigmoid(l) comes from
    the same sigmoid, and the leading dimension is walked in slices that stay in a processor's cache.

    ones: bool (..., D), broadcast against logits, float (..., D), the only one of the tensors.
    """
    (logits,) = tensors
    half_sign = ones.to(torch.float64 if logits.dtype == torch.float64 else torch.float32).sub_(0.5)
    residual = torch.empty_like(logits) if wanted else None
    derivatives = [] if residual is None else [residual]
    if logits.dim() <= 2 or logits.numel() == 0:
        return _log_prob_slice(logits, half_sign, residual), derivatives
    step = max(1, 2**18 // logits[0].numel())
    slices = logits.split(step)
    half_signs = half_sign.split(step) if len(half_sign) > 1 else [half_sign] * len(slices)  # or one image serves all
    residuals = [None] * len(slices) if residual is None else residual.split(step)
    parts = [_log_prob_slice(*each) for each in zip(slices, half_signs, residuals, strict=True)]
    return torch.cat(parts), derivatives


def _log_prob_slice(logits: Tensor, half_sign: Tensor, residual: Tensor | None) -> Tensor:
    """log p of a slice; writes x - sigmoid(l) to `residual` if there is one. half_sign: 1/2 where x is 1, else -1/2."""
    precise = at_least_float32(logits)
    log_p = 2 * (precise * half_sign).clamp_(max=0).sum(-1)
    p = precise.abs().sigmoid_()
    if residual is not None:
        torch.sub(half_sign, torch.copysign(p - 0.5, precise), out=residual)
    for _ in range(4):
        if p.shape[-1] % 2 == 0:
            half = p.shape[-1] // 2
            p = p[..., :half] * p[..., half:]
    return log_p + p.log().sum(-1)
