"""Causal convolutions that compute a whole image, one row of it, or one pixel of it, with the same weights.

A network made of them is written once. With `step=None` its layers see whole images; with a `Step` they see what is new
at that place and keep in the step's memory what they will need again, so that sampling computes nothing twice.

Where a model is autoregressive over colour channels, each feature belongs to one of them: see
`pixellib.models.autoregressive.channels`.
"""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixellib.devices import autocast_dtype
from pixellib.likelihoods.base import at_least_float32
from pixellib.models.autoregressive.channels import ChannelIndex, index_of


@dataclass
class Step:
    """Where a pass stands that goes row by row (column None) or pixel by pixel.

    width: of the image, in pixels. channel: the colour channel whose features are computed, None for all at once.
    memory: what each layer keeps; one dictionary serves all steps of an image, in order from row 0.
    """

    row: int
    width: int
    column: int | None = None
    channel: int | None = None
    memory: dict[nn.Module, "Memory"] = field(default_factory=dict)

    def halved(self) -> "Step":
        """The same place in an image of half the height and width."""
        column = None if self.column is None else self.column // 2
        return replace(self, row=self.row // 2, width=self.width // 2, column=column)


@dataclass
class Memory:
    """What one layer keeps.

    Of a convolution: rows, the last rows of its input, channels last and padded, (B, rows, W + padding, C); above, what
    the rows above contribute to the current one, (W, B, C). Of an upsampling: rows, the two that it made last, (B, C,
    2, W); above, the pixel they come from.
    """

    rows: Tensor
    row: int = -1
    above: Tensor | None = None
    _weights: dict[Hashable, Tensor] = field(default_factory=dict)

    def weight(self, name: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """The weights that `make` gives, asked for once, in the precision of the rows."""
        if name not in self._weights:
            weight = make().to(self.rows.dtype)
            layout = torch.channels_last if weight.dim() == 4 else torch.contiguous_format
            self._weights[name] = weight.contiguous(memory_format=layout)
        return self._weights[name]


def at_step(features: Tensor, step: Step | None, index: ChannelIndex | None) -> Tensor:
    """Of features of a row, (B, F, 1, W), or the same everywhere, (B, F, 1, 1), those of the step's pixel and channel.

    index: of the features. Without a step, or with one for a whole row, all features are returned.
    """
    if step is None or step.column is None:
        return features
    if step.channel is not None and index is not None:
        features = features[:, index[step.channel]]
    return features if features.shape[-1] == 1 else features[..., step.column, None]


def blocks_at(step: Step | None, num_blocks: int) -> int:
    """How many of the features' blocks, one for each ordered channel, a step computes: all of them or one."""
    return num_blocks if step is None or step.channel is None else 1


def halves(features: Tensor, num_blocks: int) -> tuple[Tensor, Tensor]:
    """The first and the second half of each block of features, (B, 2 F, H, W) -> twice (B, num_blocks, F', H, W).

    The second is a copy: functions such as sigmoid are many times slower on features that lie apart in memory.
    """
    a, b = features.unflatten(1, (num_blocks, 2, -1)).unbind(2)
    return a, b.clone()


def shift_down(x: Tensor) -> Tensor:
    """Each row of x (B, C, H, W) replaced by the one above it, the first by zeros."""
    return F.pad(x, (0, 0, 1, -1))


def shift_right(x: Tensor) -> Tensor:
    """Each column of x (B, C, H, W) replaced by the one to its left, the first by zeros."""
    return F.pad(x, (1, -1, 0, 0))


def in_float32(layer: "CausalConv2d", x: Tensor, step: Step | None) -> Tensor:
    """The layer's output for x, whatever autocasting is on: a likelihood's parameters must not be rounded to bfloat16,
    in which neighbours near 1 are half a level of 256 apart.
    """
    with torch.autocast(x.device.type, enabled=False):
        return layer(at_least_float32(x), step)


class CausalConv2d(nn.Module):
    """A convolution whose output at (r, c) sees rows r - above .. r and columns c - left .. c + right; nothing below.

    The kernel has just these taps, above + 1 rows of left + 1 + right: nothing is computed to be masked. With
    current=False row r is left out, and the kernel has `above` rows. dilation: the distance between taps, in which
    above, left and right are then counted.

    in_channel_index, out_channel_index: for models that are autoregressive over channels, the colour channel that each
    input and each output feature belongs to, int64 (C_in,) and (C_out,). At its own pixel an output then sees inputs of
    its channel and of earlier ones; with strict=True, of earlier ones only.

    Pixel by pixel it works only where right = 0 or current = False: what lies to the right in this row is not known
    then. stride: the output has a place for every so many rows and columns of the input, and sees from there; in
    between, a step gives None.

    >>> CausalConv2d(1, 8, above=1, left=1, right=1)(torch.zeros(2, 1, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
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
        in_channel_index: Tensor | None = None,
        out_channel_index: Tensor | None = None,
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
        self.in_index, self.out_index = index_of(in_channel_index), index_of(out_channel_index)
        mask = None
        if in_channel_index is not None and current:
            earlier = torch.gt if strict else torch.ge
            mask = torch.ones_like(self.weight, requires_grad=False)
            mask[:, :, -1, left] = earlier(out_channel_index[:, None], in_channel_index).to(mask)
        self.register_buffer("mask", mask, persistent=False)

    def extra_repr(self) -> str:
        rows, columns = self.weight.shape[2:]
        return f"{self.in_channels}, {self.out_channels}, {rows} x {columns}, dilation {self.dilation}"

    def forward(self, x: Tensor, step: Step | None = None) -> Tensor | None:
        """A whole image (B, C, H, W); with a step, the row (B, C, 1, W) or the pixel (B, C, 1, 1) that is new there.

        Where the step has a channel, x may hold all features or the channel's; the output holds the channel's.
        """
        if step is None:
            x = F.pad(x, (self.left, self.right, self.above, 0 if self.current else -self.dilation))
            x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # channels last: oneDNN's quickest layout
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
        rows = memory.rows if self.current else memory.rows[:, : -self.dilation]
        return self._over_rows(rows, memory.weight("all rows", self._weight))

    def _pixel(self, x: Tensor, step: Step) -> Tensor | None:
        if self.current and self.right:
            raise ValueError(f"a convolution that sees {self.right} pixels to the right cannot go pixel by pixel")
        memory = self._next_row(x, step)
        row, column = memory.rows[:, -1], self.left + step.column
        x = x.flatten(1)
        if x.shape[1] == self.in_channels:
            row[:, column] = x
        else:
            row[:, column, self.in_index[step.channel]] = x
        if step.row % self.stride or step.column % self.stride:
            return None
        start = self.bias if memory.above is None else memory.above[step.column // self.stride]
        if step.channel is not None:
            start = start[..., self.out_index[step.channel]]
        if not self.current:
            return start[..., None, None]
        weight = memory.weight(step.channel, lambda: self._weight_of_row(step.channel))
        taps = row[:, column - self.left : column + 1 : self.dilation].flatten(1)
        return torch.addmm(start, taps, weight)[..., None, None]

    def _weight_of_row(self, channel: int | None) -> Tensor:
        """Of the taps in the current row, for the outputs of a colour channel or all, (taps C_in, C_out)."""
        weight = self._weight()[:, :, -1].permute(2, 1, 0).flatten(0, 1)
        return weight if channel is None else weight[:, self.out_index[channel]]

    def _weight_above(self) -> Tensor:
        """Of the rows above the current one."""
        return self._weight()[:, :, :-1] if self.current else self._weight()

    def _next_row(self, x: Tensor, step: Step) -> Memory:
        """This layer's memory, moved on by a row where the step is on a new one."""
        if self not in step.memory:
            shape = len(x), self.above + 1, self.left + step.width + self.right, self.in_channels
            step.memory[self] = Memory(x.new_zeros(shape, dtype=autocast_dtype(x)))
        memory = step.memory[self]
        if memory.row != step.row:
            memory.row = step.row
            for i in range(self.above):  # the last row stays as well, until it is written over
                memory.rows[:, i] = memory.rows[:, i + 1]
            if self.above and step.column is not None and step.row % self.stride == 0:
                weight = memory.weight("above", self._weight_above)
                above = self._over_rows(memory.rows[:, : -self.dilation], weight)
                memory.above = above.squeeze(2).permute(2, 0, 1).contiguous()
        return memory

    def _over_rows(self, rows: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(rows.permute(0, 3, 1, 2), weight, self.bias, self.stride, dilation=self.dilation)


class CausalUpsample2d(nn.Module):
    """A transposed convolution of stride 2: every place gives two rows and two columns, and they see what it saw.

    columns: of the kernel, 2 or 3. With 3, which overlap by one, it works by rows but not pixel by pixel.
    in_channel_index, out_channel_index: see CausalConv2d; an output feature here sees inputs of its channel and of
    earlier ones, at every place.

    >>> CausalUpsample2d(4, 6)(torch.zeros(2, 4, 5, 5)).shape
    torch.Size([2, 6, 10, 10])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        columns: int = 2,
        in_channel_index: Tensor | None = None,
        out_channel_index: Tensor | None = None,
    ):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels, 2, columns))
        self.bias = nn.Parameter(torch.empty(out_channels))
        bound = 1 / math.sqrt(in_channels * columns)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)
        self.in_index, self.out_index = index_of(in_channel_index), index_of(out_channel_index)
        mask = None
        if in_channel_index is not None:
            mask = (out_channel_index >= in_channel_index[:, None]).to(self.weight)[..., None, None]
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor | None, step: Step | None = None) -> Tensor:
        """A whole image (B, C, H, W) -> (B, C_out, 2 H, 2 W). With a step, which stands in the larger image, what is
        new there; x is then what is new in the smaller one, a row or a pixel, or None between its rows and columns.
        """
        if step is None:
            return self._upsample(x)
        if step.column is None:
            if x is not None:
                step.memory[self] = Memory(self._upsample(x))
            return step.memory[self].rows[:, :, step.row % 2, None]
        if x is not None:
            self._keep(x, step)
        rows = step.memory[self].rows[..., step.row % 2, step.column, None, None]
        return rows if step.channel is None else rows[:, self.out_index[step.channel]]

    def _keep(self, x: Tensor, step: Step) -> None:
        """Store the two rows and columns that a pixel gives: of all channels, or of the step's."""
        if self not in step.memory:
            step.memory[self] = Memory(x.new_zeros(len(x), self.out_channels, 2, step.width))
        memory, columns = step.memory[self], slice(step.column, step.column + 2)
        if step.channel is None:
            memory.rows[..., columns] = self._upsample(x)
            return
        if memory.above is None:
            memory.above = x.new_zeros(len(x), self.in_channels, 1, 1)
        memory.above[:, self.in_index[step.channel]] = x
        out = self.out_index[step.channel]
        memory.rows[:, out, :, columns] = self._upsample(memory.above)[:, out]

    def _upsample(self, x: Tensor) -> Tensor:
        weight = self.weight if self.mask is None else self.weight * self.mask
        first = (self.weight.shape[3] - 1) // 2
        return F.conv_transpose2d(x, weight, self.bias, stride=2)[..., first : first + 2 * x.shape[-1]]
