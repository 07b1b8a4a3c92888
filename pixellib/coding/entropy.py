"""What both ways of coding share: probabilities as the entropy coder takes them, and levels as it counts them."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
from torch import Tensor
from torch.distributions import Distribution

from pixellib.coding.container import CodingError
from pixellib.likelihoods.base import class_name


def constriction() -> ModuleType:
    """The entropy coder. ImportError that says how to install it."""
    try:
        import constriction
    except ImportError as error:
        raise ImportError("coding needs the package constriction: pip install 'pixel-likelihoods[coding]'") from error
    return constriction


@contextmanager
def decoding_errors() -> Iterator[None]:
    """CodingError where the entropy coder meets what no encoder wrote: the decoder's probabilities are not its."""
    try:
        yield
    except AssertionError as error:
        raise CodingError(
            "the code words do not fit the model's probabilities, which are not those that the file was made with: it "
            "was made on another machine, or in another precision"
        ) from error


def categorical() -> object:
    """The family of distributions whose probabilities are given one by one, as multiples of 2^-24."""
    return constriction().stream.model.Categorical(perfect=False)


def probabilities(log_p: Tensor) -> np.ndarray:
    """Of each level, float64 (N, L), for log-probabilities (N, L) in nats.

    One row after another in memory, because the entropy coder reads a matrix in the order in which it lies there.
    """
    return np.ascontiguousarray(log_p.cpu().double().exp().numpy())


def index_of(x: Tensor, pixels: Distribution) -> np.ndarray:
    """Which of the likelihood's levels each sub-pixel of x has, int32 (N,). ValueError if it has none of them."""
    values = np.asarray(pixels.values)
    x = x.flatten().cpu().numpy()
    index = np.searchsorted(values, x).clip(max=len(values) - 1)
    if (values[index] != x).any():
        raise ValueError(f"{class_name(pixels)} has no probability of some of the images' levels")
    return index.astype(np.int32)
