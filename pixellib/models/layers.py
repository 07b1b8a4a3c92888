"""Causal convolutions that compute a whole image, one row of it, or one pixel of it, with the same weights.

A network made of them is written once. With `step=None` its layers see whole images; with a `Step` they see what is new
at that place and keep in the step's memory what they will need again, so that sampling computes nothing twice.
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


@dataclass
class _Memory:
    """What one convolution keeps. rows: the last rows of its input, channels last and padded, (B, rows, W + padding,
    C). above: what the rows above give to the current one, (B, C, W). weights: of the current row's taps, by group, for
    a matrix product.
    """

    rows: Tensor
    row: int = -1
    above: Tensor | None = None
    weights: dict[int | None, Tensor] = field(default_factory=dict)


def here(features: Tensor, step: Step | None, index: list[Tensor] | None = None) -> Tensor:
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
        in_groups: Tensor | None = None,
        out_groups: Tensor | None = None,
        strict: bool = False,
    ):
        super().__init__()
        self.in_channels, self.out_channels, self.dilation, self.current = in_channels, out_channels, dilation, current
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

    def forward(self, x: Tensor, step: Step | None = None) -> Tensor:
        """A whole image (B, C, H, W); with a step, the row (B, C, 1, W) or the pixel (B, C, 1, 1) that is new there.

        Where the step has a group, x may hold all features or the group's; the output holds the group's.
        """
        if step is None:
            x = F.pad(x, (self.left, self.right, self.above, 0 if self.current else -self.dilation))
            return F.conv2d(x, self._weight(), self.bias, dilation=self.dilation)
        return self._row(x, step) if step.column is None else self._pixel(x, step)

    def _weight(self) -> Tensor:
        return self.weight if self.mask is None else self.weight * self.mask

    def _row(self, x: Tensor, step: Step) -> Tensor:
        if self.weight.shape[2:] == (1, 1):
            return F.conv2d(x, self._weight(), self.bias)
        memory = self._next_row(x, step)
        memory.rows[:, -1, self.left : self.left + x.shape[-1]] = x.squeeze(2).mT
        return self._over_rows(memory.rows if self.current else memory.rows[:, : -self.dilation], self._weight())

    def _pixel(self, x: Tensor, step: Step) -> Tensor:
        memory = self._next_row(x, step)
        row, column = memory.rows[:, -1], self.left + step.column
        x = x.flatten(1)
        if x.shape[1] == self.in_channels:
            row[:, column] = x
        else:
            row[:, column, self.in_index[step.group]] = x
        given = self.bias if memory.above is None else memory.above[..., step.column]
        if step.group is not None:
            given = given[..., self.out_index[step.group]]
        if not self.current:
            return given[..., None, None]
        if step.group not in memory.weights:
            weight = self._weight()[:, :, -1].permute(2, 1, 0).flatten(0, 1)  # (taps C_in, C_out)
            if step.group is not None:
                weight = weight[:, self.out_index[step.group]]
            memory.weights[step.group] = weight.contiguous()
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
                if step.column is not None:
                    weight = self._weight()[:, :, :-1] if self.current else self._weight()
                    memory.above = self._over_rows(memory.rows[:, : -self.dilation], weight).squeeze(2)
        return memory

    def _over_rows(self, rows: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(rows.permute(0, 3, 1, 2), weight, self.bias, dilation=self.dilation)


def index_groups(groups: Tensor | None) -> list[Tensor] | None:
    """The features of each group, as indices."""
    return None if groups is None else [(groups == g).nonzero().flatten() for g in range(int(groups.max()) + 1)]
