"""A likelihood of permuted levels: it scores the permuted image in place of the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pixellib.likelihoods.base import ImageDistribution, Kind, Likelihood


class Permutation(Protocol):
    """A one-to-one mapping of levels to symbols, such as `pixellib.data.IntensityPermutation`; both are uint8, or int64
    beyond 256 levels.
    """

    table: Tensor  # (L,): the symbol of each level

    def __call__(self, x: Tensor) -> Tensor:
        """Symbols for levels."""

    def inverse(self, symbols: Tensor) -> Tensor:
        """Levels for symbols."""


@dataclass(frozen=True)
class Permuted:
    """p(x | params) = the likelihood's p(permutation(x) | params): a mass of images as before, but judged as symbols.

    A network that sees images x and has this likelihood predicts permuted targets. ValueError unless the likelihood has
    as many levels as the permutation.

    >>> from pixellib.data import IntensityPermutation
    >>> from pixellib.likelihoods import Categorical
    >>> likelihood = Permuted(Categorical(8), IntensityPermutation(num_levels=8, seed=1))
    >>> d = likelihood(torch.randn(2, 8, 4, 4))
    >>> d.log_prob(d.sample()).shape
    torch.Size([2])
    """

    likelihood: Likelihood
    permutation: Permutation

    def __post_init__(self):
        for name, value, attribute in (
            ("likelihood", self.likelihood, "num_levels"),
            ("permutation", self.permutation, "table"),
        ):
            if not hasattr(value, attribute):
                raise ValueError(f"{name} must have {attribute}, got {value!r}")
        num_levels, num_symbols = self.likelihood.num_levels, len(self.permutation.table)
        if num_levels != num_symbols:
            raise ValueError(f"a likelihood of {num_levels} levels needs as many symbols, got {num_symbols}")

    @property
    def kind(self) -> Kind:
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


class PermutedImages(ImageDistribution):
    """Images x whose permutation follows another distribution: `symbols`, of permutation(x).

    `entropy` and `expand` are those of `symbols`. `mean`, `variance` and `cdf` are for one channel; NotImplementedError
    for more, whose later channels depend on the earlier ones' symbols. ValueError unless `symbols` has every level of
    the permutation and no other, which binary images, for instance, have not.
    """

    arg_constraints: ClassVar = {}

    def __init__(self, symbols: ImageDistribution, permutation: Permutation):
        if list(symbols.values) != list(range(len(permutation.table))):
            raise ValueError(f"permuted symbols must be all of 0..{len(permutation.table) - 1}, got {symbols}")
        self.symbols, self.permutation = symbols, permutation
        self.num_levels = symbols.num_levels
        super().__init__(symbols.batch_shape, symbols.event_shape, symbols._validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """That of the symbols, which are all of the levels."""
        return self.symbols.support

    @property
    def mean(self) -> Tensor:
        """float (..., 1, H, W), in units of levels."""
        p, levels = self._pmf("mean")
        return (p * levels).sum(-4)

    @property
    def variance(self) -> Tensor:
        """float (..., 1, H, W), in squared levels."""
        p, levels = self._pmf("variance")
        return (p * (levels - (p * levels).sum(-4, keepdim=True)).square()).sum(-4)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.symbols.log_prob(self._symbols_of(x))

    def log_prob_per_pixel(self, x: Tensor, fused: bool = True) -> Tensor:
        """log p of each pixel in nats; fused: as for the symbols."""
        return self.symbols.log_prob_per_pixel(self._symbols_of(x), fused)

    def conditional_log_pmf(self, x: Tensor | None = None) -> Tensor:
        table = self.permutation.table.to(self._device, torch.int64)
        symbols = None if x is None else self._symbols_of(x)
        return self.symbols.conditional_log_pmf(symbols).index_select(-4, table)

    def cdf(self, x: Tensor) -> Tensor:
        """P(X <= x) of each sub-pixel: float (..., 1, H, W)."""
        self._check(x)
        p, levels = self._pmf("cdf")
        return (p * (levels <= x.unsqueeze(-4))).sum(-4)

    def entropy(self) -> Tensor:
        return self.symbols.entropy()

    def sample(self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        return self.permutation.inverse(self.symbols.sample(sample_shape, generator=generator))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self.symbols.enumerate_support(expand)

    def expand(self, batch_shape: Sequence[int], _instance=None) -> "PermutedImages":
        return PermutedImages(self.symbols.expand(batch_shape), self.permutation)

    def __repr__(self) -> str:
        return f"PermutedImages(symbols: {self.symbols}, permutation: {self.permutation})"

    @property
    def _device(self) -> torch.device:
        return self.symbols._device

    def _symbols_of(self, x: Tensor) -> Tensor:
        """The symbols of images of any type of integers. ValueError as for other distributions."""
        self._check(x)
        return self.permutation.table.to(x.device)[x.long()]

    def _pmf(self, what: str) -> tuple[Tensor, Tensor]:
        """The probability of each level, (..., L, 1, H, W), and the levels, (L, 1, 1, 1)."""
        if self.event_shape[0] != 1:
            raise NotImplementedError(f"the {what} of permuted images is for 1 channel, got {self.event_shape[0]}")
        anything = torch.zeros(self.event_shape, dtype=self.permutation.table.dtype, device=self._device)
        p = self.conditional_log_pmf(anything.expand(*self.batch_shape, *self.event_shape)).exp()
        return p, torch.arange(self.num_levels, device=p.device, dtype=p.dtype).view(-1, 1, 1, 1)
