"""Symbols whose neighbours may mean anything, in place of levels: what notebook 10 makes of images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pixellib.data.transforms import IntensityPermutation, grey
from pixellib.likelihoods import Likelihood, Permuted
from pixellib.series.permuted.order import order_by_neighbours, used_first


@dataclass(frozen=True)
class Symbols:
    """What becomes of levels, or of codes; photographs are made grey.

    permuted: what a permutation, drawn from a run's seed, is applied to, the targets alone or the inputs as well;
    window: see IntensityPermutation. order: what is then done to the symbols, as training images suggest it: those that
    occur come first (`used_first`), or all are put in order (`order_by_neighbours`).
    """

    permuted: Literal["targets", "inputs and targets"] | None = None
    window: int | None = None
    order: Literal["used first", "neighbours"] | None = None

    def permutation(self, seed: int) -> IntensityPermutation:
        return IntensityPermutation(256, seed, self.window)

    def of(self, x: Tensor, seed: int, training_images: Callable[[], Tensor]) -> Tensor:
        """The symbols that a run with that seed sees, uint8 (N, 1, H, W), for levels or codes of the same shape, or
        colours (N, 3, H, W). training_images: gives those of the training split, for an order to be found in.
        """
        symbols = self._unordered(x, seed)
        if self.order is None:
            return symbols
        find = {"used first": used_first, "neighbours": order_by_neighbours}[self.order]
        return find(self._unordered(training_images(), seed))(symbols)

    def likelihood(self, base: Likelihood, seed: int) -> Likelihood:
        """The base, of permuted targets where the inputs are not permuted."""
        return Permuted(base, self.permutation(seed)) if self.permuted == "targets" else base

    @staticmethod
    def levels(x: Tensor) -> Tensor:
        """Levels of one channel, uint8 (N, 1, H, W), for those of one, or for colours (N, 3, H, W)."""
        return grey(x) if x.shape[1] == 3 else x

    def _unordered(self, x: Tensor, seed: int) -> Tensor:
        x = self.levels(x)
        return self.permutation(seed)(x) if self.permuted == "inputs and targets" else x
