"""What is done to stored images before a model sees them: scale, binarise, make grey, permute intensities.

Random functions take an optional `torch.Generator`, which must live on the device of the images; without
one they use PyTorch's global generator.
"""

import torch
from torch import Tensor

from pixellib.seeds import check_seed

__all__ = ["IntensityPermutation", "binarise", "grey", "scale", "unscale"]


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
    """Draw each pixel of x (uint8, any shape) as 255 with probability x / 255, else as 0 (uint8).

    The draw is over the 255 integers 0..254, of which exactly x are smaller than x: 0 never becomes 255, 255
    always stays, and no rounding of a fraction enters. ValueError for other types than uint8.

    >>> binarise(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [0, 255]
    """
    _require_uint8("binarise", x)
    draws = torch.randint(255, x.shape, generator=generator, dtype=torch.uint8, device=x.device)
    return (draws < x).byte() * 255


def grey(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Brightness of colour images, uint8 (N, 3, H, W) -> (N, 1, H, W): the luma of Rec. 601, rounded. generator: has
    no effect; with it this is a `transform` of `fit` and `evaluate`.

    ValueError for other types and shapes.

    >>> grey(torch.full((1, 3, 1, 1), 7, dtype=torch.uint8)).flatten().tolist()
    [7]
    """
    _require_uint8("grey", x)
    if x.dim() != 4 or x.shape[1] != 3:
        raise ValueError(f"grey expects colour images (N, 3, H, W), got {tuple(x.shape)}")
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device).view(3, 1, 1)
    return torch.cat([(part * weights).sum(1, keepdim=True).round().byte() for part in x.split(1000)])


class IntensityPermutation:
    """A permutation of the levels 0..L-1, drawn from a seed: it turns an ordered alphabet into an unordered one.

    num_levels: L; beyond 256, levels and symbols are int64 instead of uint8. seed: 0 to 2^32 - 1. window: only levels
    in the same of consecutive windows of so many are exchanged; None for all of them, and 1 leaves every level where it
    is. ValueError for other numbers.

    >>> permutation = IntensityPermutation(num_levels=8, seed=1)
    >>> x = torch.arange(8, dtype=torch.uint8)
    >>> torch.equal(permutation.inverse(permutation(x)), x)
    True
    """

    def __init__(self, num_levels: int = 256, seed: int = 0, window: int | None = None):
        window = num_levels if window is None else window
        are_integers = isinstance(num_levels, int) and isinstance(window, int)
        if not are_integers or not 1 <= window <= num_levels:
            raise ValueError(f"expected at least 1 level and windows of 1 to that many, got {num_levels}, {window}")
        generator = torch.Generator().manual_seed(check_seed(seed))
        self._made_by = f"{num_levels}, {seed}, {window}"
        parts = torch.arange(num_levels).split(window)
        self._set(torch.cat([part[torch.randperm(len(part), generator=generator)] for part in parts]))

    @classmethod
    def of_table(cls, table: Tensor) -> "IntensityPermutation":
        """The mapping of level v to table[v], integers (L,). ValueError unless they are 0..L-1, each once.

        >>> IntensityPermutation.of_table(torch.tensor([2, 0, 1]))(torch.tensor([0], dtype=torch.uint8))
        tensor([2], dtype=torch.uint8)
        """
        if len(table) < 1 or not torch.equal(table.long().sort().values, torch.arange(len(table))):
            raise ValueError("a permutation's table holds the levels 0..L-1, each once")
        permutation = cls(len(table))
        permutation._made_by = f"table={table.tolist()}"
        permutation._set(table)
        return permutation

    def _set(self, table: Tensor) -> None:
        dtype = torch.uint8 if len(table) <= 256 else torch.int64
        self.table, self.inverse_table = table.to(dtype), table.argsort().to(dtype)

    def __repr__(self) -> str:
        return f"IntensityPermutation({self._made_by})"

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Symbols for levels, both of any shape. ValueError for other types and values. generator: has no effect; with
        it this is a `transform` of `fit` and `evaluate`.
        """
        return self._look_up(self.table, x)

    def inverse(self, symbols: Tensor) -> Tensor:
        """Levels for symbols: `inverse(permutation(x))` is x."""
        return self._look_up(self.inverse_table, symbols)

    @staticmethod
    def _look_up(table: Tensor, x: Tensor) -> Tensor:
        if x.dtype != table.dtype:
            expected = str(table.dtype).removeprefix("torch.")
            raise ValueError(f"IntensityPermutation expected {expected}, values 0..{len(table) - 1}, got {x.dtype}")
        if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < len(table):
            values = f"{int(x.min())}..{int(x.max())}"
            raise ValueError(f"IntensityPermutation expected values 0..{len(table) - 1}, got {values}")
        return table.to(x.device)[x.int()]


def _require_uint8(name: str, x: Tensor) -> None:
    if x.dtype != torch.uint8:
        raise ValueError(f"{name} expected uint8 images, values 0..255, got {x.dtype}")
