"""Causal convolutions that compute a whole image, one row of it, or one pixel of it, with the same weights.

A network made of them is written once. With `step=None` its layers see whole images; with a `Step` they see what is new
at that place and keep in the step's memory what they will need again, so that sampling computes nothing twice.
"""

import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixellib.likelihoods.base import at_least_float32


@dataclass
class Step:
    """Where a pass stands that goes row by row (column None) or pixel by pixel.

    width: of the image, in pixels. group: the colour channel whose features are computed, None for all at once.
    memory: what each layer keeps; one dictionary serves all steps of an image, in order from row 0.
    """

    row: int
    width: int
    column: int | None = None
    group: int | None = None
    memory: dict[nn.Module, "_Memory"] = field(default_factory=dict)

    def halved(self) -> "Step":
        """The same place in an image of half the height and width."""
        column = None if self.column is None else self.column // 2
        return replace(self, row=self.row // 2, width=self.width // 2, column=column)


@dataclass
class _Memory:
    """What one convolution keeps. rows: the last rows of its input, channels last and padded, (B, rows, W + padding,
    C). above: what the rows above give to the current one, (B, C, W). weights: of the current row's taps, by group, for
    a matrix product. An upsampling keeps in `rows` the two that it made last, (B, C, 2, W), and in `above` the pixel
    they come from.
    """

    rows: Tensor
    row: int = -1
    above: Tensor | None = None
    weights: dict[int | None, Tensor] = field(default_factory=dict)


def here(features: Tensor, step: Step | None, index: list[slice | Tensor] | None = None) -> Tensor:
    """Of features of a row, (B, C, 1, W), or of all pixels alike, (B, C, 1, 1), those of the step's pixel and group.

    index: the features of each group. Without a step, or with one for a whole row, all of them.
    """
    if step is None or step.column is None:
        return features
    if step.group is not None and index is not None:
        features = features[:, index[step.group]]
    return features if features.shape[-1] == 1 else features[..., step.column, None]


class CausalConv2d(nn.Module):
    """A convolution whose output at (r, c) sees rows r - above .. r and columns c - left .. c + right; nothing below.

    The kernel has just these taps, above + 1 rows of left + 1 + right: nothing is computed to be masked. With
    current=False row r is left out, and the kernel has `above` rows. dilation: the distance between taps, in which
    above, left and right are then counted.

    in_groups, out_groups: for ordered colour channels, the channel (0, 1, ...) that each input and each output feature
    belongs to, int64 (C_in,) and (C_out,); at its own pixel an output then sees inputs of its channel and of earlier
    ones, with strict=True of earlier ones only.

    Pixel by pixel it goes only where right = 0: what lies to the right is not known then. stride: the output has a
    place for every so many rows and columns of the input, and sees from there; in between a step gives None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        above: int = 0,
        left: int = 0,
        right: int = 0,
        current: bool = True,
        dilation: int = 1,
        stride: int = 1,
        in_groups: Tensor | None = None,
        out_groups: Tensor | None = None,
        strict: bool = False,
    ):
        super().__init__()
        self.in_channels, self.out_channels, self.dilation, self.current = in_channels, out_channels, dilation, current
        self.stride = stride
        self.above, self.left, self.right = above * dilation, left * dilation, right * dilation  # in pixels
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, above + current, left + 1 + right))
        self.bias = nn.Parameter(torch.empty(out_channels))
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)
        self.register_buffer("mask", None, persistent=False)
        self.in_index, self.out_index = index_groups(in_groups), index_groups(out_groups)
        if in_groups is not None and current:
            sees = out_groups[:, None] > in_groups if strict else out_groups[:, None] >= in_groups
            self.mask = torch.ones(self.weight.shape)
            self.mask[:, :, -1, left] = sees.float()

    def extra_repr(self) -> str:
        rows, columns = self.weight.shape[2:]
        return f"{self.in_channels}, {self.out_channels}, {rows} x {columns}, dilation {self.dilation}"

    def forward(self, x: Tensor, step: Step | None = None) -> Tensor | None:
        """A whole image (B, C, H, W); with a step, the row (B, C, 1, W) or the pixel (B, C, 1, 1) that is new there.

        Where the step has a group, x may hold all features or the group's; the output holds the group's.
        """
        if step is None:
            x = F.pad(x, (self.left, self.right, self.above, 0 if self.current else -self.dilation))
            return F.conv2d(x, self._weight(), self.bias, self.stride, dilation=self.dilation)
        return self._row(x, step) if step.column is None else self._pixel(x, step)

    def _weight(self) -> Tensor:
        return self.weight if self.mask is None else self.weight * self.mask

    def _row(self, x: Tensor, step: Step) -> Tensor | None:
        if self.weight.shape[2:] == (1, 1):
            return F.conv2d(x, self._weight(), self.bias)
        memory = self._next_row(x, step)
        memory.rows[:, -1, self.left : self.left + x.shape[-1]] = x.squeeze(2).mT
        if step.row % self.stride:
            return None
        return self._over_rows(memory.rows if self.current else memory.rows[:, : -self.dilation], self._weight())

    def _pixel(self, x: Tensor, step: Step) -> Tensor | None:
        if self.current and self.right:
            raise ValueError(f"a convolution that sees {self.right} pixels to the right cannot go pixel by pixel")
        memory = self._next_row(x, step)
        row, column = memory.rows[:, -1], self.left + step.column
        x = x.flatten(1)
        if x.shape[1] == self.in_channels:
            row[:, column] = x
        else:
            row[:, column, self.in_index[step.group]] = x
        if step.row % self.stride or step.column % self.stride:
            return None
        given = self.bias if memory.above is None else memory.above[..., step.column // self.stride]
        if step.group is not None:
            given = given[..., self.out_index[step.group]]
        if not self.current:
            return given[..., None, None]
        if step.group not in memory.weights:
            weight = self._weight()[:, :, -1].permute(2, 1, 0).flatten(0, 1)  # (taps C_in, C_out)
            if step.group is not None:
                weight = weight[:, self.out_index[step.group]]
            memory.weights[step.group] = weight.contiguous().to(row.dtype)  # bf16 where autocast is on
        taps = row[:, column - self.left : column + 1 : self.dilation].flatten(1)
        return torch.addmm(given, taps, memory.weights[step.group])[..., None, None]

    def _next_row(self, x: Tensor, step: Step) -> _Memory:
        """This layer's memory, moved on by a row where the step is on a new one."""
        if self not in step.memory:
            rows = x.new_zeros(len(x), self.above + 1, self.left + step.width + self.right, self.in_channels)
            step.memory[self] = _Memory(rows)
        memory = step.memory[self]
        if memory.row != step.row:
            memory.row = step.row
            if self.above:
                memory.rows = torch.cat([memory.rows[:, 1:], torch.zeros_like(memory.rows[:, :1])], 1)
                if step.column is not None and step.row % self.stride == 0:
                    weight = self._weight()[:, :, :-1] if self.current else self._weight()
                    memory.above = self._over_rows(memory.rows[:, : -self.dilation], weight).squeeze(2)
        return memory

    def _over_rows(self, rows: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(rows.permute(0, 3, 1, 2), weight, self.bias, self.stride, dilation=self.dilation)


class CausalUpsample2d(nn.Module):
    """A transposed convolution of stride 2: every place gives two rows and two columns, and sees what it saw.

    columns: of the kernel, 2 or 3; with 3, which overlap by one, it goes by rows but not pixel by pixel. in_groups,
    out_groups: see CausalConv2d; features here see those of their own channel and of earlier ones at every place.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        columns: int = 2,
        in_groups: Tensor | None = None,
        out_groups: Tensor | None = None,
    ):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels, 2, columns))
        self.bias = nn.Parameter(torch.empty(out_channels))
        bound = 1 / math.sqrt(in_channels * columns)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)
        self.register_buffer("mask", None, persistent=False)
        self.in_index, self.out_index = index_groups(in_groups), index_groups(out_groups)
        if in_groups is not None:
            self.mask = (out_groups >= in_groups[:, None]).float()[..., None, None]

    def forward(self, x: Tensor | None, step: Step | None = None) -> Tensor:
        """A whole image (B, C, H, W) -> (B, C_out, 2 H, 2 W). With a step, which stands in the larger image, what is
        new there; x is then what is new in the smaller one, a row or a pixel, or None between its rows and columns.
        """
        if step is None:
            return self._upsample(x)
        if step.column is None:
            if x is not None:
                step.memory[self] = _Memory(self._upsample(x))
            return step.memory[self].rows[:, :, step.row % 2, None]
        if x is not None:
            self._keep(x, step)
        rows = step.memory[self].rows[..., step.row % 2, step.column, None, None]
        return rows if step.group is None else rows[:, self.out_index[step.group]]

    def _keep(self, x: Tensor, step: Step) -> None:
        """The two rows and columns that a pixel gives; where it comes group by group, those of its groups so far."""
        if self not in step.memory:
            step.memory[self] = _Memory(x.new_zeros(len(x), self.out_channels, 2, step.width))
        memory, columns = step.memory[self], slice(step.column, step.column + 2)
        if step.group is None:
            memory.rows[..., columns] = self._upsample(x)
            return
        if memory.above is None:
            memory.above = x.new_zeros(len(x), self.in_channels, 1, 1)
        memory.above[:, self.in_index[step.group]] = x
        out = self.out_index[step.group]
        memory.rows[:, out, :, columns] = self._upsample(memory.above)[:, out]

    def _upsample(self, x: Tensor) -> Tensor:
        weight = self.weight if self.mask is None else self.weight * self.mask
        first = (self.weight.shape[3] - 1) // 2
        return F.conv_transpose2d(x, weight, self.bias, stride=2)[..., first : first + 2 * x.shape[-1]]


def index_groups(groups: Tensor | None) -> list[slice | Tensor] | None:
    """The features of each group: a slice where they lie side by side, else their indices."""
    if groups is None:
        return None
    found = [(groups == group).nonzero().flatten() for group in range(int(groups.max()) + 1)]
    return [slice(int(i[0]), int(i[-1]) + 1) if i[-1] - i[0] + 1 == len(i) else i for i in found]


def groups_of(num_features: int, num_groups: int) -> Tensor | None:
    """The channel of each of so many features, int64, in equal blocks; None where there is one group.

    ValueError if the groups do not divide them.
    """
    if num_groups == 1:
        return None
    if num_features % num_groups:
        raise ValueError(f"{num_features} features do not divide into {num_groups} ordered channels")
    return torch.arange(num_groups).repeat_interleave(num_features // num_groups)


def in_float32(layer: CausalConv2d, x: Tensor, step: Step | None) -> Tensor:
    """The layer's output for x, whatever autocasting is on: a likelihood's parameters must not be rounded to bfloat16,
    in which neighbours near 1 are half a level of 256 apart.
    """
    with torch.autocast(x.device.type, enabled=False):
        return layer(at_least_float32(x), step)


def groups_at(step: Step | None, num_groups: int) -> int:
    """How many groups of features a step has at hand."""
    return num_groups if step is None or step.group is None else 1
