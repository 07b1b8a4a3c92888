"""What a model checks before it is built, trained or drawn from: each complaint names the argument and its value."""

import math
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor, nn

from pixellib.likelihoods import Likelihood
from pixellib.likelihoods.base import INTEGERS, known

MOST_BYTES = 2**34  # of the images that one call of `sample` returns: 16 GiB


def check_counts(at_least: int = 1, **counts: int) -> None:
    """ValueError naming the first argument that is not an integer, or is below `at_least`."""
    for name, count in counts.items():
        if not isinstance(count, Integral) or isinstance(count, bool):
            raise ValueError(f"{name} must be an integer, got {count!r}")
        if count < at_least:
            raise ValueError(f"{name} must be at least {at_least}, got {count}")


def check_likelihood(likelihood: Likelihood) -> Likelihood:
    """The likelihood, or ValueError for anything else, such as its name or its class."""
    if isinstance(likelihood, type) or not isinstance(likelihood, Likelihood):
        raise ValueError(f"likelihood must be a Likelihood, such as Categorical(), got {likelihood!r}")
    return likelihood


def check_shape(channels: int, size: Sequence[int], multiple_of: int = 1) -> tuple[int, int]:
    """The size (H, W) as a tuple. ValueError if a number is not a positive integer, or H or W not such a multiple."""
    check_counts(channels=channels)
    if not hasattr(size, "__len__") or len(size) != 2:
        raise ValueError(f"size must be (height, width), got {size}")
    size = tuple(size)
    check_counts(**{"the height in size": size[0], "the width in size": size[1]})
    if any(n % multiple_of for n in size):
        raise ValueError(f"height and width must be multiples of {multiple_of}, got {size}")
    return size


def check_images(x: Tensor, channels: int, size: Sequence[int] | None = None) -> None:
    """ValueError unless x holds integers (B, channels, H, W), of the given size if there is one."""
    if not isinstance(x, Tensor):
        raise ValueError(f"expected images as a tensor, got {type(x).__name__}")
    expected = (channels, *(("H", "W") if size is None else size))
    if x.dim() != 4 or x.shape[1] != channels or (size is not None and x.shape[2:] != torch.Size(size)):
        raise ValueError(f"expected images (B, {', '.join(map(str, expected))}), got {tuple(x.shape)}")
    if x.dtype not in INTEGERS:
        raise ValueError(f"expected images of integers (uint8, or int64 beyond 256 levels), got {x.dtype}")


def check_range(name: str, t: Tensor, number: int) -> None:
    """ValueError naming them unless all elements of a tensor that is not empty are in 0..number-1. Not checked where
    values cannot be looked at: under torch.vmap, and by torch.compile and torch.export.
    """
    low, high = known(t.min()), known(t.max())
    if low is not None and not 0 <= low <= high < number:
        raise ValueError(f"{name} are 0..{number - 1}, got {low}..{high}")


def check_sampling(model: nn.Module, num_samples: int, shape: Sequence[int]) -> torch.device:
    """The device on which `num_samples` images of shape (C, H, W) can be drawn from the model.

    ValueError if the number is below 1, if the images would fill more than 16 GiB, or if the model is on the meta
    device, where weights have shapes but no values.
    """
    check_counts(num_samples=num_samples)
    if num_samples * math.prod(shape) > MOST_BYTES:
        raise ValueError(
            f"num_samples is too large: {num_samples} images of {' x '.join(map(str, shape))} bytes are more than "
            f"{MOST_BYTES // 2**30} GiB"
        )
    device = next(model.parameters()).device
    if device.type == "meta":
        raise ValueError("the model is on the meta device, where weights have no values: it cannot be drawn from")
    return device


def refuse_condition(model: nn.Module, condition: Tensor | None) -> None:
    """ValueError if there is a condition, for models that take none."""
    if condition is not None:
        raise ValueError(f"{type(model).__name__} takes no condition")
