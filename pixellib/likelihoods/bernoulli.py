"""The Bernoulli observation model of binarised images."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution, constraints

from pixellib.likelihoods.base import at_least_float32, check_images


@dataclass(frozen=True)
class Bernoulli:
    """p(x = 255) = sigmoid(params), one independent coin for each sub-pixel; values are 0 or 255."""

    kind: ClassVar = "mass"
    coupled_channels: ClassVar = False

    def num_params(self, channels: int) -> int:
        return channels

    def channel_index(self, channels: int) -> torch.LongTensor:
        return torch.arange(channels)

    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Nothing: the layer's own initialisation will do."""

    def __call__(self, params: Tensor) -> "BernoulliImages":
        return BernoulliImages(params)


class BernoulliImages(Distribution):
    """Binary images with independent sub-pixels.

    logits: float (..., C, H, W); the leading dimensions are the batch shape, and a value broadcasts against them, so
    that M samples of a latent can share one image. bfloat16 and float16 logits are lifted to float32 inside.
    """

    arg_constraints = {"logits": constraints.independent(constraints.real, 3)}  # noqa: RUF012
    support = constraints.independent(constraints.integer_interval(0, 255), 3)
    values = (0, 255)  # what the entries of log_pmf stand for

    def __init__(self, logits: Tensor):
        if logits.dim() < 3:
            raise ValueError(f"Bernoulli expects logits of shape (..., C, H, W), got {tuple(logits.shape)}")
        self.logits = logits
        super().__init__(logits.shape[:-3], logits.shape[-3:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """float (..., C, H, W), in 0..255."""
        return 255 * torch.sigmoid(at_least_float32(self.logits))

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, float32 (or float64) of the batch shape.

        x: uint8 (B, C, H, W), values 0 or 255. ValueError for other values or sizes, FloatingPointError for logits that
        are not finite.
        """
        logits, ones = self._matched(x)
        log_p = _LogProb.apply(logits.flatten(-3), ones.flatten(-3))
        if not torch.isfinite(log_p.detach()).all():
            raise FloatingPointError("Bernoulli: the logits are not finite")
        return log_p

    def log_prob_per_pixel(self, x: Tensor) -> Tensor:
        """log p of each pixel in nats, summed over its channels: float (..., H, W)."""
        logits, ones = self._matched(x)
        logits = at_least_float32(logits)
        return -F.binary_cross_entropy_with_logits(logits, ones.to(logits).expand_as(logits), reduction="none").sum(-3)

    def conditional_log_pmf(self, x: Tensor) -> Tensor:
        """log-probability of the two values 0 and 255 in nats: float (B, 2, C, H, W). x is not needed: no channel
        waits.
        """
        logits = at_least_float32(self.logits)
        return torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], -4)

    def sample(self, sample_shape=(), generator: torch.Generator | None = None) -> Tensor:
        """uint8 (*sample_shape, ..., C, H, W), values 0 or 255."""
        p = torch.sigmoid(at_least_float32(self.logits))
        u = torch.rand(torch.Size(sample_shape) + p.shape, generator=generator, device=p.device, dtype=p.dtype)
        return (u < p).to(torch.uint8) * 255

    def _matched(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logits expanded to x's batch dimensions, and bool (..., C, H, W): where x is 255."""
        batches = zip(reversed(self.batch_shape), reversed(x.shape[:-3]), strict=False)
        if (
            x.dtype != torch.uint8
            or x.shape[-3:] != self.event_shape
            or any(mine != its and 1 not in (mine, its) for mine, its in batches)
        ):
            raise ValueError(
                f"Bernoulli expects uint8 images for logits {tuple(self.logits.shape)}, got {x.dtype} {tuple(x.shape)}"
            )
        ones = x == 255
        if not (ones | (x == 0)).all():
            raise ValueError("Bernoulli expects binary images (0 or 255): binarise grey values first")
        return self.logits.expand(torch.broadcast_shapes(self.logits.shape, x.shape)), ones


@dataclass(frozen=True)
class GreyBernoulli(Bernoulli):
    """Binary cross-entropy on grey values: widely used, and not a likelihood of them.

    It scores x / 255 as if it were the outcome of a coin, but its "probabilities" of the 256 levels do not sum to one,
    and its samples are 0 or 255.
    """

    kind: ClassVar = "improper"

    def __call__(self, params: Tensor) -> "GreyBernoulliImages":
        return GreyBernoulliImages(params)


class GreyBernoulliImages(BernoulliImages):
    """logits: float (..., C, H, W). `conditional_log_pmf` is that of the coins."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Minus the cross-entropy in nats, float32 (or float64) of the batch shape; x: uint8 (B, C, H, W)."""
        return self.log_prob_per_pixel(x).sum((-2, -1))

    def log_prob_per_pixel(self, x: Tensor) -> Tensor:
        """Minus the cross-entropy of each pixel in nats, summed over its channels: float (..., H, W)."""
        batch = check_images("GreyBernoulli", x, self.batch_shape, self.event_shape, 256)
        logits = at_least_float32(self.logits).expand(*batch, *self.event_shape)
        return -F.binary_cross_entropy_with_logits(logits, x.to(logits).expand_as(logits) / 255, reduction="none").sum(
            -3
        )


class _LogProb(torch.autograd.Function):
    """sum_d [x_d l_d - softplus(l_d)], written so that no logarithm is taken per pixel.

    With s = l where x is 1, else -l, the term is log sigmoid(s) = min(s, 0) + log sigmoid(|s|). Since sigmoid(|s|) lies
    in [1/2, 1], sixteen pixels can be multiplied before one logarithm is taken. The gradient x - sigmoid(l) comes from
    the same sigmoid, and the leading dimension is walked in slices that stay in a processor's cache. The textbook form
    is the tests' and the benchmark's reference.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, ones: Tensor) -> Tensor:
        """logits float (..., N), ones bool, broadcast against them; returns float32 (or float64) (...)."""
        half_sign = ones.to(torch.float64 if logits.dtype == torch.float64 else torch.float32) - 0.5
        residual = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        ctx.save_for_backward(residual)
        if logits.dim() <= 2:
            return _log_prob_slice(logits, half_sign, residual)
        step = max(1, 2**18 // logits[0].numel())
        slices = logits.split(step)
        own_sign = half_sign.dim() == logits.dim() and len(half_sign) > 1  # else the leading dimension shares one image
        half_signs = half_sign.split(step) if own_sign else [half_sign] * len(slices)
        residuals = [None] * len(slices) if residual is None else residual.split(step)
        return torch.cat([_log_prob_slice(*each) for each in zip(slices, half_signs, residuals, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (residual,) = ctx.saved_tensors
        return residual * grad.unsqueeze(-1).to(residual.dtype), None


def _log_prob_slice(logits: Tensor, half_sign: Tensor, residual: Tensor | None) -> Tensor:
    """log p of a slice; writes x - sigmoid(l) to `residual` if there is one. half_sign: 1/2 where x is 1, else -1/2."""
    lifted = at_least_float32(logits)
    log_p = 2 * (lifted * half_sign).clamp_(max=0).sum(-1)
    p = lifted.abs().sigmoid_()
    if residual is not None:
        torch.sub(half_sign, torch.copysign(p - 0.5, lifted), out=residual)
    for _ in range(4):
        if p.shape[-1] % 2 == 0:
            half = p.shape[-1] // 2
            p = p[..., :half] * p[..., half:]
    return log_p + p.log().sum(-1)
