"""What every observation model offers, whatever the network under it, and how images are matched to parameters."""

from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution


class Likelihood(Protocol):
    """An observation model p(x | params).

    Calling it with params, float (B, P, H, W), gives a `torch.distributions.Distribution` of batch shape (B,) and
    event shape (C, H, W), whose values are images, uint8 (B, C, H, W). Beside the usual `log_prob(x) -> (B,)` in
    nats, `sample() -> uint8` and `mean -> float` (in the units of x, 0..255) it has `log_prob_per_pixel(x) -> (B, H,
    W)` and `conditional_log_pmf(x) -> (B, L, C, H, W)`: every value's log-probability, later channels given x's earlier ones. The
    values are 0..L-1 unless the distribution says otherwise in `values`.
    """

    kind: Literal["mass", "density", "improper"]  # what log_prob is the logarithm of
    coupled_channels: bool  # whether the channels of a pixel share parameters and are drawn together

    def num_params(self, channels: int) -> int:
        """P: how many parameters the network gives each pixel of an image with so many colour channels."""

    def channel_index(self, channels: int) -> torch.LongTensor:
        """(P,): the colour channel each parameter serves, 0 for shared ones."""

    def __call__(self, params: Tensor) -> Distribution:
        """The distribution of images under params, float (B, P, H, W)."""

    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Set a network's last layer, in place, to where training should begin; may do nothing.

        layer: has a `weight`, perhaps under weight normalisation, and a `bias`, float (P,).
        """


def at_least_float32(t: Tensor) -> Tensor:
    """In float32, or float64 if it is that: likelihoods do not compute in half precision."""
    return t if t.dtype == torch.float64 else t.float()


def scale_levels(x: Tensor, num_levels: int) -> Tensor:
    """Levels 0..L-1, float, to [-1, 1]."""
    return x * (2 / (num_levels - 1)) - 1


def check_params(name: str, params: Tensor, multiple: int) -> int:
    """The number of colour channels C of params (..., P, H, W), where P = C * multiple.

    ValueError for another shape or type, FloatingPointError for parameters that are not finite.
    """
    if params.dim() < 3 or params.shape[-3] % multiple or not params.is_floating_point():
        raise ValueError(
            f"{name} expects float parameters (..., P, H, W) with P a multiple of {multiple}, "
            f"got {params.dtype} {tuple(params.shape)}"
        )
    check_finite(name, params)
    return params.shape[-3] // multiple


def check_finite(name: str, params: Tensor) -> None:
    """FloatingPointError naming the likelihood if a parameter is NaN or infinite."""
    params = params.detach()
    if not torch.isfinite(params.sum()) and not torch.isfinite(params).all():  # a sum is cheaper, but may overflow
        raise FloatingPointError(f"{name}: the parameters are not finite")


def check_images(name: str, x: Tensor, batch_shape: torch.Size, event_shape: torch.Size, num_levels: int) -> torch.Size:
    """The common batch shape of images and parameters. ValueError for images of other sizes, types or values."""
    batches = zip(reversed(batch_shape), reversed(x.shape[:-3]), strict=False)
    if x.shape[-3:] != event_shape or any(mine != its and 1 not in (mine, its) for mine, its in batches):
        expected = f"{tuple(batch_shape)} of {tuple(event_shape)}"
        raise ValueError(f"{name} expects images for a batch {expected}, got {tuple(x.shape)}")
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"{name} expects integer images (uint8), got {x.dtype}")
    if x.numel() and not (x.dtype == torch.uint8 and num_levels >= 256):
        low, high = (v.item() for v in x.aminmax())
        if low < 0 or high >= num_levels:
            raise ValueError(f"{name} expects values 0..{num_levels - 1}, got values {low}..{high}")
    return torch.broadcast_shapes(batch_shape, x.shape[:-3])


def levels_dtype(num_levels: int) -> torch.dtype:
    """Of sampled images: uint8 as long as the levels fit."""
    return torch.uint8 if num_levels <= 256 else torch.int64
