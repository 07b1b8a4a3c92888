"""Between stored images and what models eat: scale, unscale, binarise, dequantise, permute intensities.

Random functions take an optional ``torch.Generator``, which must live on the device of the images; without
one they use PyTorch's global generator.
"""

import torch
from torch import Tensor

__all__ = ["IntensityPermutation", "binarise", "dequantise", "grey", "scale", "unscale"]


def scale(x: Tensor, num_levels: int = 256) -> Tensor:
    """Map levels 0..L-1 to [-1, 1]: 0 to -1, L - 1 to 1, evenly spaced.

    x: integers or floats of any shape. Returns float32 for integers, and the dtype of x for floats.

    >>> scale(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    >>> scale(torch.tensor([0, 1, 2]), num_levels=3)
    tensor([-1.,  0.,  1.])
    """
    y = x if x.is_floating_point() else x.float()
    return y * (2 / (num_levels - 1)) - 1


def unscale(y: Tensor, num_levels: int = 256) -> Tensor:
    """The level nearest to each scaled value: the inverse of `scale`, by rounding and clamping.

    y: floats of any shape. Returns uint8, or int64 for more than 256 levels. `unscale(scale(x))` is x for all 256
    values, also when the scaled values were stored as bfloat16 or float16 in between: two levels lie 2/255 apart, and
    the rounding error of bfloat16 below 1 is at most 1/512.

    >>> unscale(torch.tensor([-1.0, 0.1, 7.0])).tolist()
    [0, 140, 255]
    """
    y = y if y.dtype == torch.float64 else y.float()
    levels = ((y + 1) * ((num_levels - 1) / 2)).round().clamp(0, num_levels - 1)
    return levels.to(torch.uint8 if num_levels <= 256 else torch.int64)


def binarise(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw each pixel of ``x`` (uint8, any shape) as 255 with probability x / 255, else 0 (uint8).

    The draw is over the 255 integers 0..254, of which exactly x are smaller than x: 0 never becomes 255, 255
    always stays, and no rounding of a fraction enters.
    """
    draws = torch.randint(255, x.shape, generator=generator, dtype=torch.uint8, device=x.device)
    return (draws < x).byte() * 255


def dequantise(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Spread each intensity of ``x`` (uint8, any shape) over its level: (x + u) / 256, float32 in [0, 1).

    The noise u is drawn from the multiples of 2^-16 below 1. With 8 bits for x and 16 for u the sum fits the
    24 bits of float32 exactly, so no rounding can carry a value into the next level or to 1.
    """
    u = torch.randint(2**16, x.shape, generator=generator, dtype=torch.float32, device=x.device) / 2**16
    return (x + u) / 256


def grey(x: Tensor) -> Tensor:
    """Brightness of colour images, uint8 (N, 3, H, W) -> (N, 1, H, W): the luma of Rec. 601, rounded."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device).view(3, 1, 1)
    return torch.cat([(part * weights).sum(1, keepdim=True).round().byte() for part in x.split(1000)])


class IntensityPermutation:
    """A one-to-one mapping of the levels 0..L-1 onto themselves, drawn from a seed: unordered symbols for ordered ones.

    window: levels trade places only within consecutive windows of so many, None for all; 1 leaves every level where it
    is. num_levels: L, at most 256. ValueError for other numbers.
    """

    def __init__(self, num_levels: int = 256, seed: int = 0, window: int | None = None):
        window = num_levels if window is None else window
        if not 1 <= num_levels <= 256 or not 1 <= window <= num_levels:
            raise ValueError(f"expected 1..256 levels and windows of 1 to that many, got {num_levels}, {window}")
        generator = torch.Generator().manual_seed(seed)
        self._made_by = f"{num_levels}, {seed}, {window}"
        parts = torch.arange(num_levels).split(window)
        self._set(torch.cat([part[torch.randperm(len(part), generator=generator)] for part in parts]))

    @classmethod
    def of_table(cls, table: Tensor) -> "IntensityPermutation":
        """The mapping of level v to table[v], integers (L,). ValueError unless they are 0..L-1, each once."""
        if not 1 <= len(table) <= 256 or not torch.equal(table.long().sort().values, torch.arange(len(table))):
            raise ValueError("a permutation's table holds the levels 0..L-1, each once, L at most 256")
        permutation = cls(len(table))
        permutation._made_by = f"table={table.tolist()}"
        permutation._set(table)
        return permutation

    def _set(self, table: Tensor) -> None:
        self.table, self.inverse_table = table.byte(), table.argsort().byte()

    def __repr__(self) -> str:
        return f"IntensityPermutation({self._made_by})"

    def __call__(self, x: Tensor) -> Tensor:
        """Symbols for levels, both uint8 of any shape. ValueError for other types and values."""
        return self._look_up(self.table, x)

    def inverse(self, symbols: Tensor) -> Tensor:
        """Levels for symbols: `inverse(permutation(x))` is x."""
        return self._look_up(self.inverse_table, symbols)

    @staticmethod
    def _look_up(table: Tensor, x: Tensor) -> Tensor:
        if x.dtype != torch.uint8 or (x.numel() and int(x.max()) >= len(table)):  # a uint8 tensor knows no 256
            raise ValueError(f"expected uint8 values 0..{len(table) - 1}, got {x.dtype}, max {x.max().item()}")
        return table.to(x.device)[x.int()]
