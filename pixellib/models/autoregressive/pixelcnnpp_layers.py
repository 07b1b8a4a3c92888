"""The layers of PixelCNN++ between its first and its last: residual blocks at several scales."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixellib.likelihoods.base import at_least_float32
from pixellib.models.autoregressive.channels import feature_channels, index_of
from pixellib.models.autoregressive.layers import (
    CausalConv2d,
    CausalUpsample2d,
    Memory,
    Step,
    at_step,
    blocks_at,
    halves,
)
from pixellib.models.concat_elu import concat_elu, interleave


class Scale(nn.Module):
    """The residual blocks at one scale, and between its way in and its way out those at the smaller scales.

    num_resnets: of each stream on the way in; on the way out as many, and one more where there is a smaller scale.
    num_smaller: how many scales lie within this one. shortcuts: whether blocks of the way out see those of the way in.
    block: options of every GatedResnet.

    Conditions are lists with a part for each block, in the order of `blocks`; empty without a condition.
    """

    def __init__(self, num_resnets: int, num_smaller: int, shortcuts: bool, block: dict):
        super().__init__()
        num_filters, self.num_blocks = block["num_filters"], block["num_blocks"]
        features = feature_channels(num_filters, self.num_blocks)
        self.index, self.shortcuts = index_of(features), shortcuts
        skip = int(shortcuts)
        num_out = num_resnets + (num_smaller > 0)
        upper = {**block, "num_blocks": 1, "right": 1}
        self.u_in = nn.ModuleList(GatedResnet(**upper) for _ in range(num_resnets))
        self.ul_in = nn.ModuleList(GatedResnet(**block, num_auxiliary=1) for _ in range(num_resnets))
        self.u_out = nn.ModuleList(GatedResnet(**upper, num_auxiliary=skip) for _ in range(num_out))
        self.ul_out = nn.ModuleList(GatedResnet(**block, num_auxiliary=1 + skip) for _ in range(num_out))
        self.smaller = None
        if num_smaller:
            among = {"in_channel_index": features, "out_channel_index": features}
            self.u_down = CausalConv2d(num_filters, num_filters, above=1, left=1, right=1, stride=2)
            self.ul_down = CausalConv2d(num_filters, num_filters, above=1, left=1, stride=2, **among)
            self.smaller = Scale(num_resnets, num_smaller - 1, shortcuts, block)
            self.u_up = CausalUpsample2d(num_filters, num_filters, columns=3)
            self.ul_up = CausalUpsample2d(num_filters, num_filters, **among)

    def blocks(self) -> Iterator["GatedResnet"]:
        """All residual blocks, the upper and the upper-left one of each layer in turn."""
        yield from (block for pair in zip(self.u_in, self.ul_in, strict=True) for block in pair)
        if self.smaller is not None:
            yield from self.smaller.blocks()
        yield from (block for pair in zip(self.u_out, self.ul_out, strict=True) for block in pair)

    def convolutions(self) -> Iterator[CausalConv2d | CausalUpsample2d]:
        """See PixelCNNpp.convolutions."""
        for u, ul in zip(self.u_in, self.ul_in, strict=True):
            yield from (*u.convolutions(), *ul.convolutions())
        if self.smaller is not None:
            yield from (self.u_down, self.ul_down, *self.smaller.convolutions(), self.u_up, self.ul_up)
        for u, ul in zip(self.u_out, self.ul_out, strict=True):
            yield from (*u.convolutions(), *ul.convolutions())

    def vertical(self, u: "Stream", condition: list[Tensor], step: Step | None) -> tuple["Stream", tuple]:
        """The upper stream, and what the upper-left one sees of it: on the way in, at smaller scales, on the way out.

        Between the rows of a smaller scale there is nothing new in it, and what is seen of it is None.
        """
        of_in, of_smaller, of_out = self._divide(condition)
        on_way_in, on_way_out, smaller = [u], [], None
        for block, of_block in zip(self.u_in, of_in[::2], strict=True):
            on_way_in.append(block(on_way_in[-1], [], of_block, step))
        skips = list(on_way_in)
        if self.smaller is None:
            u = skips.pop()
        else:
            down = self.u_down(on_way_in[-1].features, step)
            if down is not None:
                down, smaller = self.smaller.vertical(Stream(down), of_smaller, step and step.halved())
            u = Stream(self.u_up(down and down.features, step))
        for block, of_block in zip(self.u_out, of_out[::2], strict=True):
            u = block(u, [skips.pop()] if self.shortcuts else [], of_block, step)
            on_way_out.append(u)
        return u, (on_way_in[1:], smaller, on_way_out)

    def horizontal(self, ul: "Stream", upper: tuple, condition: list[Tensor], step: Step | None) -> "Stream":
        """The upper-left stream. upper: what `vertical` says that it sees."""
        of_in, of_smaller, of_out = self._divide(condition)
        on_way_in, smaller, on_way_out = upper
        skips, num_blocks = [ul], blocks_at(step, self.num_blocks)
        for block, u, of_block in zip(self.ul_in, on_way_in, of_in[1::2], strict=True):
            skips.append(block(skips[-1], [u], of_block, step))
        if self.smaller is None:
            ul = skips.pop()
        else:
            down = self.ul_down(skips[-1].features, step)
            if down is not None:
                down = self.smaller.horizontal(Stream(down, num_blocks), smaller, of_smaller, step and step.halved())
            ul = Stream(self.ul_up(down and down.features, step), num_blocks)
        for block, u, of_block in zip(self.ul_out, on_way_out, of_out[1::2], strict=True):
            ul = block(ul, [u, skips.pop()] if self.shortcuts else [u], of_block, step)
        return ul

    def _divide(self, condition: list[Tensor]) -> tuple[list[Tensor | None], list[Tensor], list[Tensor | None]]:
        """The parts of the condition for the blocks on the way in, at smaller scales and on the way out."""
        num_in, num_out = 2 * len(self.u_in), 2 * len(self.u_out)
        if not condition:
            return [None] * num_in, [], [None] * num_out
        return condition[:num_in], condition[num_in : len(condition) - num_out], condition[len(condition) - num_out :]


class Stream:
    """Features, float (B, F, H, W), and their concatenated ELU, computed once although several layers see it.

    num_blocks: of the features, one for each ordered channel.
    """

    def __init__(self, features: Tensor, num_blocks: int = 1):
        self.features, self.num_blocks, self._elu = features, num_blocks, None

    @property
    def elu(self) -> Tensor:
        """float (B, 2 F, H, W), see `concat_elu`."""
        if self._elu is None:
            self._elu = concat_elu(self.features, self.num_blocks)
        return self._elu


class GatedResnet(nn.Module):
    """x + a sigmoid(b), a and b being halves of two convolutions of x, between which auxiliary features are added. The
    sum is computed in float32 at least, whatever autocasting is on.

    num_blocks: of the features, one for each ordered channel. right: how far the kernels of 2 rows see to the right; 0
    or 1. num_auxiliary: how many streams of as many features are added.
    """

    def __init__(self, num_filters: int, num_blocks: int, dropout: float, right: int = 0, num_auxiliary: int = 0):
        super().__init__()
        once, twice = (feature_channels(n * num_filters, num_blocks) for n in (1, 2))
        self.num_blocks, self.index = num_blocks, index_of(twice)
        kernel = {"above": 1, "left": 1, "right": right, "in_channel_index": twice}
        self.first = CausalConv2d(2 * num_filters, num_filters, **kernel, out_channel_index=once)
        self.auxiliary = Auxiliary(num_filters, num_blocks, num_auxiliary) if num_auxiliary else None
        self.dropout = nn.Dropout(dropout)
        self.last = CausalConv2d(2 * num_filters, 2 * num_filters, **kernel, out_channel_index=twice)

    def convolutions(self) -> Iterator[CausalConv2d]:
        yield from (layer for layer in (self.first, self.auxiliary, self.last) if layer is not None)

    def forward(
        self, x: Stream, auxiliary: list[Stream], condition: Tensor | None = None, step: Step | None = None
    ) -> Stream:
        """x, auxiliary: of F features; with a step at a pixel, the first auxiliary stream is still that of the whole
        row. condition: (B, 2 F, 1, 1).
        """
        num_blocks = blocks_at(step, self.num_blocks)
        h = self.first(x.elu, step)
        if self.auxiliary is not None:
            h = h + self.auxiliary([stream.elu for stream in auxiliary], step)
        h = self.last(self.dropout(concat_elu(h, num_blocks)), step)
        if condition is not None:
            h = h + at_step(condition, step, self.index)
        a, b = halves(h, num_blocks)
        return Stream(at_least_float32(x.features) + (a * b.sigmoid()).flatten(1, 2), num_blocks)


class Auxiliary(CausalConv2d):
    """A 1 x 1 convolution of the concatenated ELUs of several streams.

    The first of them is known for a whole row before its pixels: what it adds is computed by the row. At most one more
    is computed pixel by pixel.
    """

    def __init__(self, num_filters: int, num_blocks: int, num_streams: int):
        once = feature_channels(num_filters, num_blocks)
        num_in = 2 * num_streams * num_filters
        seen = feature_channels(num_in, num_blocks)
        super().__init__(num_in, num_filters, in_channel_index=seen, out_channel_index=once)
        self.num_blocks, self.num_streams = num_blocks, num_streams
        self.of_stream = index_of(feature_channels(2 * num_filters, num_blocks))

    def forward(self, elus: list[Tensor], step: Step | None = None) -> Tensor:
        """elus: of each stream, (B, 2 F, H, W) -> (B, F, H, W)."""
        if step is None or step.column is None:
            return super().forward(self._side_by_side(elus), step)
        memory = step.memory.setdefault(self, Memory(elus[0].new_zeros(len(elus[0]), elus[0].shape[1])))
        if memory.row != step.row:
            memory.row = step.row
            above = F.conv2d(elus[0], memory.weight("first stream", lambda: self._weight_of(0)), self.bias)
            memory.above = above.squeeze(2).permute(2, 0, 1).contiguous()
        start = memory.above[step.column]
        if step.channel is not None:
            start = start[:, self.out_index[step.channel]]
        if len(elus) == 1:
            return start[..., None, None]
        pixel = elus[1].flatten(1)
        if step.channel is not None:
            memory.rows[:, self.of_stream[step.channel]] = pixel
            pixel = memory.rows
        weight = memory.weight(step.channel, lambda: self._weight_of_pixel(step.channel))
        return torch.addmm(start, pixel, weight)[..., None, None]

    def _side_by_side(self, elus: list[Tensor]) -> Tensor:
        """In each block first the elus of all streams, then those of all negatives: (B, 2 F num_streams, H, W)."""
        if len(elus) == 1:
            return elus[0]
        return interleave(elus, 2 * self.num_blocks)

    def _weight_of_pixel(self, channel: int | None) -> Tensor:
        """Of the second stream, for the outputs of a colour channel or all, (2 F, C_out)."""
        weight = self._weight_of(1)[:, :, 0, 0].mT
        return weight if channel is None else weight[:, self.out_index[channel]]

    def _weight_of(self, stream: int) -> Tensor:
        weight = self._weight().unflatten(1, (self.num_blocks, 2, self.num_streams, -1))
        return weight[:, :, :, stream].flatten(1, 3)
