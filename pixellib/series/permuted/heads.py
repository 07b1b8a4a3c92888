"""Likelihoods of single symbols that notebook 10 compares: mixtures placed otherwise, and others without an order.

All are for images of one channel and 256 symbols, and each is a `Likelihood`.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixellib.likelihoods import LogisticMixture
from pixellib.likelihoods.base import Kind, at_least_float32, check_params, gain_of
from pixellib.likelihoods.categorical import CategoricalImages
from pixellib.likelihoods.logistic_mixture import DiscretizedLogisticMixture

NARROW = -6.0  # a log-scale at which a logistic gives its own symbol of 256 a probability of 0.66


@dataclass(frozen=True)
class OneChannel:
    """What these likelihoods have in common: a softmax over symbols in the end, whatever the parameters are."""

    kind: ClassVar[Kind] = "mass"
    coupled_channels: ClassVar[bool] = False
    num_levels: ClassVar[int] = 256

    def num_params(self, channels: int) -> int:
        """ValueError unless there is one channel."""
        if channels != 1:
            raise ValueError(f"{type(self).__name__} is for 1 channel, got {channels}")
        return self.num_numbers

    def channel_index(self, channels: int) -> torch.LongTensor:
        return torch.zeros(self.num_params(channels), dtype=torch.long)

    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Leaves the layer as it is."""

    def __call__(self, params: Tensor) -> CategoricalImages:
        check_params(type(self).__name__, params, self.num_numbers)
        log_p = self.log_pmf(at_least_float32(params))
        return CategoricalImages(log_p.unsqueeze(-4), validate_args=False)._values_checked()


@dataclass(frozen=True)
class BinaryTree(OneChannel):
    """Eight decisions, one after another, each with a logit of its own: 255 numbers, no two symbols alike by nature.

    The first decides between the symbols 0 to 127 and 128 to 255, the next halves what is left, and so on. Of permuted
    symbols the tree is a random one.

    >>> BinaryTree()(torch.zeros(2, 255, 4, 4)).log_prob(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)) / math.log(2)
    tensor([-128., -128.])
    """

    num_numbers: ClassVar[int] = 255

    def log_pmf(self, params: Tensor) -> Tensor:
        """float (..., 256, H, W), for the logits (..., 255, H, W), of the root first."""
        log_p = params.new_zeros(*params.shape[:-3], 1, *params.shape[-2:])
        for depth in range(8):
            logits = params[..., 2**depth - 1 : 2 ** (depth + 1) - 1, :, :]
            halves = torch.stack([log_p + F.logsigmoid(-logits), log_p + F.logsigmoid(logits)], -3)
            log_p = halves.flatten(-4, -3)
        return log_p


@dataclass(frozen=True)
class GridMixture(OneChannel):
    """A mixture of logistics whose components lie in a grid of two or three dimensions instead of on a line.

    Symbol x stands at the digits of x in the grid's shape. A component has a truncated logistic in each dimension.
    Parameters: K logits, then K means and K log-scales for each dimension.
    """

    num_components: int = 10
    shape: tuple[int, ...] = (16, 16)
    min_log_scale: float = -9.0

    def __post_init__(self):
        if math.prod(self.shape) != self.num_levels:
            raise ValueError(f"expected a grid of {self.num_levels} places, got {self.shape}")

    @property
    def num_numbers(self) -> int:
        return self.num_components * (1 + 2 * len(self.shape))

    def log_pmf(self, params: Tensor) -> Tensor:
        """float (..., 256, H, W)."""
        logits, *rest = params.unflatten(-3, (-1, self.num_components)).unbind(-4)  # (..., K, H, W) each
        log_p = logits.log_softmax(-3).unsqueeze(-3)  # (..., K, 1, H, W)
        for length, mean, log_scale in zip(self.shape, rest[::2], rest[1::2], strict=True):
            along = self._along(length, mean, log_scale)  # (..., K, length, H, W)
            log_p = (log_p.unsqueeze(-3) + along.unsqueeze(-4)).flatten(-4, -3)
        return log_p.logsumexp(-4)

    def _along(self, length: int, mean: Tensor, log_scale: Tensor) -> Tensor:
        """Log-masses of the places along one dimension, float (..., K, length, H, W)."""
        mean, log_scale = (t.unsqueeze(-3) for t in (mean, log_scale.clamp(min=self.min_log_scale)))
        edges = torch.arange(length + 1, dtype=mean.dtype, device=mean.device).view(-1, 1, 1) - 0.5
        edges = (2 * edges / (length - 1) - 1 - mean) * (-log_scale).exp()
        low, high = edges[..., :-1, :, :], edges[..., 1:, :, :]
        width = (high - low).clamp(min=1e-12)
        log_mass = F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(-width))
        return log_mass - log_mass.logsumexp(-3, keepdim=True)

    @torch.no_grad()
    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Components begin apart, at random places that are always the same, and the weights at a tenth."""
        K, D = self.num_components, len(self.shape)
        means = 2 * torch.rand(D, K, generator=torch.Generator().manual_seed(0)) - 1
        log_scales = torch.full((D, K), -math.log(2 * K) / D)
        gain_of(layer).mul_(0.1)
        layer.bias.copy_(torch.cat([torch.zeros(K), torch.stack([means, log_scales], 1).flatten()]))


@dataclass(frozen=True)
class SymbolMixture(LogisticMixture):
    """The truncated mixture, with what may help its training.

    mean_rate: means are this times what the network gives, so that an optimiser moves them by so much less. ceiling:
    log-scales stay below it, and their slope never vanishes there. on_symbols, of one channel: with as many components
    as levels, each begins on a symbol of its own and narrow, and the network at first says only how probable each is.
    fixed, of one channel: they stay there, and the K logits are the only parameters, which is a softmax in other words.

    ValueError for on_symbols or fixed with another number of components than levels.
    """

    mean_rate: float = 1.0
    ceiling: float | None = None
    on_symbols: bool = False
    fixed: bool = False

    def __post_init__(self):
        super().__post_init__()
        if (self.on_symbols or self.fixed) and self.num_components != self.num_levels:
            raise ValueError(f"{self.num_components} components cannot lie on {self.num_levels} symbols")

    def num_params(self, channels: int) -> int:
        """ValueError unless there are 1 or 3 channels, or 1 with on_symbols or fixed."""
        if (self.on_symbols or self.fixed) and channels != 1:
            raise ValueError(f"expected 1 channel for on_symbols or fixed, got {channels}")
        return self.num_components if self.fixed else super().num_params(channels)

    def channel_index(self, channels: int) -> torch.LongTensor:
        return torch.zeros(self.num_params(1), dtype=torch.long) if channels == 1 else super().channel_index(channels)

    def __call__(self, params: Tensor) -> DiscretizedLogisticMixture:
        limits = {"min_log_scale": self.min_log_scale, "max_log_scale": self.max_log_scale}
        mixture = LogisticMixture(self.num_components, self.tails, self.num_levels, self.coupled, **limits)
        if self.fixed:
            check_params("SymbolMixture", params, self.num_components)
            means, log_scales = (t.view(-1, 1, 1).to(params).expand_as(params) for t in self._places())
            return mixture(torch.cat([params, means, log_scales], -3))
        logits, means, log_scales, *coefficients = mixture.unpack(params)
        if self.ceiling is not None:
            log_scales = self.ceiling - F.softplus(self.ceiling - log_scales)
        rest = torch.stack([self.mean_rate * means, log_scales, *coefficients], -4)  # (..., C, 2 or 3, K, H, W)
        return mixture(torch.cat([logits, rest.flatten(-5, -3)], -3))

    @torch.no_grad()
    def init_output_(self, layer: nn.Module, channels: int) -> None:
        if self.fixed:
            return
        K, weight = self.num_components, gain_of(layer)
        if self.on_symbols:
            weight[K:].zero_()
            layer.bias.copy_(torch.cat([torch.zeros(K), *self._places(NARROW)]))
        else:
            super().init_output_(layer, channels)
        for rows in (weight, layer.bias):
            rows[K:].unflatten(0, (channels, -1, K))[:, 0] /= self.mean_rate

    def _places(self, narrow: float = -9.0) -> tuple[Tensor, Tensor]:
        """Means and log-scales, float (K,) each: narrow on the symbols."""
        return torch.linspace(-1, 1, self.num_components), torch.full((self.num_components,), narrow)
