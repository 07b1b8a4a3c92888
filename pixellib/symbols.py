"""Symbols whose neighbours may mean anything, in place of levels: what notebook 10 makes of images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pixellib.data.order import order_by_neighbours
from pixellib.data.transforms import IntensityPermutation, grey
from pixellib.likelihoods import Likelihood, Permuted


@dataclass(frozen=True)
class Symbols:
    """What becomes of levels, or of codes; photographs are made grey.

    permuted: what a permutation, drawn from a run's seed, is applied to, the targets alone or the inputs as well;
    window: see IntensityPermutation. reordered: whether symbols are then put into the order that is found in training
    images.
    """

    permuted: Literal["targets", "inputs and targets"] | None = None
    window: int | None = None
    reordered: bool = False

    def permutation(self, seed: int) -> IntensityPermutation:
        return IntensityPermutation(256, seed, self.window)

    def of(self, x: Tensor, seed: int, training_images: Callable[[], Tensor]) -> Tensor:
        """The symbols that a run with that seed sees, uint8 (N, 1, H, W), for levels or codes of the same shape, or
        colours (N, 3, H, W). training_images: gives those of the training split, for an order to be found in.
        """
        symbols = self._unordered(x, seed)
        return order_by_neighbours(self._unordered(training_images(), seed))(symbols) if self.reordered else symbols

    def likelihood(self, base: Likelihood, seed: int) -> Likelihood:
        """The base, of permuted targets where the inputs are not permuted."""
        return Permuted(base, self.permutation(seed)) if self.permuted == "targets" else base

    def _unordered(self, x: Tensor, seed: int) -> Tensor:
        x = grey(x) if x.shape[1] == 3 else x
        return self.permutation(seed)(x) if self.permuted == "inputs and targets" else x
