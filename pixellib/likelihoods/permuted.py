"""Any likelihood of symbols in place of levels: what does it make of values whose neighbours mean something else?"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pixellib.likelihoods.base import Likelihood


class Permutation(Protocol):
    """A one-to-one mapping of levels to symbols, both uint8, such as `pixellib.data.IntensityPermutation`."""

    table: Tensor  # (L,): the symbol of each level

    def __call__(self, x: Tensor) -> Tensor:
        """Symbols for levels."""

    def inverse(self, symbols: Tensor) -> Tensor:
        """Levels for symbols."""


@dataclass(frozen=True)
class Permuted:
    """p(x | params) = the likelihood's p(permutation(x) | params): a mass of images as before, but judged as symbols.

    A network that sees images x and has this likelihood predicts permuted targets. For likelihoods of all of the
    permutation's levels.
    """

    likelihood: Likelihood
    permutation: Permutation

    def __post_init__(self):
        num_levels, num_symbols = getattr(self.likelihood, "num_levels", 256), len(self.permutation.table)
        if num_levels != num_symbols:
            raise ValueError(f"a likelihood of {num_levels} levels needs as many symbols, got {num_symbols}")

    @property
    def kind(self) -> str:
        return self.likelihood.kind

    @property
    def coupled_channels(self) -> bool:
        return self.likelihood.coupled_channels

    @property
    def num_levels(self) -> int:
        return len(self.permutation.table)

    def num_params(self, channels: int) -> int:
        return self.likelihood.num_params(channels)

    def channel_index(self, channels: int) -> torch.LongTensor:
        return self.likelihood.channel_index(channels)

    def init_output_(self, layer: nn.Module, channels: int) -> None:
        self.likelihood.init_output_(layer, channels)

    def __call__(self, params: Tensor) -> "PermutedImages":
        return PermutedImages(self.likelihood(params), self.permutation)


class PermutedImages(Distribution):
    """symbols: the distribution of permutation(x)."""

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, symbols: Distribution, permutation: Permutation):
        self.symbols, self.permutation = symbols, permutation
        super().__init__(symbols.batch_shape, symbols.event_shape, validate_args=False)

    @property
    def support(self):
        return self.symbols.support

    @property
    def mean(self) -> Tensor:
        """float (..., 1, H, W), in units of levels. ValueError for more channels, whose later ones hang on the others'
        symbols.
        """
        if self.event_shape[0] != 1:
            raise ValueError(f"the mean of permuted images is for 1 channel, got {self.event_shape[0]}")
        anything = torch.zeros(self.event_shape, dtype=torch.uint8, device=self.permutation.table.device)
        p = self.conditional_log_pmf(anything.expand(*self.batch_shape, *self.event_shape)).exp()
        levels = torch.arange(p.shape[-4], device=p.device, dtype=p.dtype).view(-1, 1, 1, 1)
        return (p * levels).sum(-4)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.symbols.log_prob(self.permutation(x))

    def log_prob_per_pixel(self, x: Tensor) -> Tensor:
        return self.symbols.log_prob_per_pixel(self.permutation(x))

    def conditional_log_pmf(self, x: Tensor) -> Tensor:
        return self.symbols.conditional_log_pmf(self.permutation(x)).index_select(
            -4, self.permutation.table.to(x.device, torch.int64)
        )

    def sample(self, sample_shape=(), generator: torch.Generator | None = None) -> Tensor:
        return self.permutation.inverse(self.symbols.sample(sample_shape, generator=generator))
