"""The layers of PixelCNN++ between its first and its last: residual blocks at three scales."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from pixellib.likelihoods.base import at_least_float32
from pixellib.models.autoregressive.layers import (
    CausalConv2d,
    CausalUpsample2d,
    Step,
    at_step,
    blocks_at,
    feature_channels,
    halves,
    index_of,
)


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

    def vertical(self, u: Tensor, condition: list[Tensor], step: Step | None) -> tuple[Tensor, tuple]:
        """The upper stream, and what the upper-left one sees of it: on the way in, at smaller scales, on the way out.

        Between the rows of a smaller scale there is nothing new in it, and what is seen of it is None.
        """
        of_in, of_smaller, of_out = self._divide(condition)
        on_way_in, on_way_out, smaller = [u], [], None
        for block, of_block in zip(self.u_in, of_in[::2], strict=True):
            on_way_in.append(block(on_way_in[-1], None, of_block, step))
        skips = list(on_way_in)
        if self.smaller is None:
            u = skips.pop()
        else:
            down = self.u_down(on_way_in[-1], step)
            if down is not None:
                down, smaller = self.smaller.vertical(down, of_smaller, step and step.halved())
            u = self.u_up(down, step)
        for block, of_block in zip(self.u_out, of_out[::2], strict=True):
            u = block(u, skips.pop() if self.shortcuts else None, of_block, step)
            on_way_out.append(u)
        return u, (on_way_in[1:], smaller, on_way_out)

    def horizontal(self, ul: Tensor, upper: tuple, condition: list[Tensor], step: Step | None) -> Tensor:
        """The upper-left stream. upper: what `vertical` says that it sees."""
        of_in, of_smaller, of_out = self._divide(condition)
        on_way_in, smaller, on_way_out = upper
        skips = [ul]
        for block, u, of_block in zip(self.ul_in, on_way_in, of_in[1::2], strict=True):
            skips.append(block(skips[-1], at_step(u, step, self.index), of_block, step))
        if self.smaller is None:
            ul = skips.pop()
        else:
            down = self.ul_down(skips[-1], step)
            if down is not None:
                down = self.smaller.horizontal(down, smaller, of_smaller, step and step.halved())
            ul = self.ul_up(down, step)
        for block, u, of_block in zip(self.ul_out, on_way_out, of_out[1::2], strict=True):
            auxiliary = at_step(u, step, self.index)
            if self.shortcuts:
                auxiliary = join([auxiliary, skips.pop()], blocks_at(step, self.num_blocks))
            ul = block(ul, auxiliary, of_block, step)
        return ul

    def _divide(self, condition: list[Tensor]) -> tuple[list[Tensor | None], list[Tensor], list[Tensor | None]]:
        """The parts of the condition for the blocks on the way in, at smaller scales and on the way out."""
        num_in, num_out = 2 * len(self.u_in), 2 * len(self.u_out)
        if not condition:
            return [None] * num_in, [], [None] * num_out
        return condition[:num_in], condition[num_in : len(condition) - num_out], condition[len(condition) - num_out :]


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
        self.auxiliary = None
        if num_auxiliary:
            num_in = 2 * num_auxiliary * num_filters
            self.auxiliary = CausalConv2d(
                num_in, num_filters, in_channel_index=feature_channels(num_in, num_blocks), out_channel_index=once
            )
        self.dropout = nn.Dropout(dropout)
        self.last = CausalConv2d(2 * num_filters, 2 * num_filters, **kernel, out_channel_index=twice)

    def convolutions(self) -> Iterator[CausalConv2d]:
        yield from (layer for layer in (self.first, self.auxiliary, self.last) if layer is not None)

    def forward(
        self, x: Tensor, auxiliary: Tensor | None = None, condition: Tensor | None = None, step: Step | None = None
    ) -> Tensor:
        """x float (B, F, H, W); auxiliary (B, F num_auxiliary, H, W); condition (B, 2 F, 1, 1) -> (B, F, H, W)."""
        num_blocks = blocks_at(step, self.num_blocks)
        h = self.first(concat_elu(x, num_blocks), step)
        if self.auxiliary is not None:
            h = h + self.auxiliary(concat_elu(auxiliary, num_blocks), step)
        h = self.last(self.dropout(concat_elu(h, num_blocks)), step)
        if condition is not None:
            h = h + at_step(condition, step, self.index)
        a, b = halves(h, num_blocks)
        return at_least_float32(x) + (a * b.sigmoid()).flatten(1, 2)


def join(streams: Sequence[Tensor], num_blocks: int) -> Tensor:
    """Features of several streams, (B, F, H, W) each, side by side within each block."""
    if num_blocks == 1:
        return torch.cat(streams, 1)
    return torch.cat([stream.unflatten(1, (num_blocks, -1)) for stream in streams], 2).flatten(1, 2)


def concat_elu(x: Tensor, num_blocks: int = 1) -> Tensor:
    """elu of x and of -x, so that no sign is lost: twice as many features, side by side within each block.

    x: float (B, F, H, W). Can be differentiated any number of times in reverse mode, by autograd and by `torch.func`,
    and compiled as part of one graph. In forward mode (`torch.func.jvp`) PyTorch says that it is not implemented.

    >>> concat_elu(torch.ones(1, 1, 1, 1)).flatten()
    tensor([ 1.0000, -0.6321])
    """
    if torch.is_grad_enabled():
        return _ConcatElu.apply(x, num_blocks)
    return _ConcatElu.forward(x, num_blocks)  # calling a Function costs more than the elu of a single pixel


class _ConcatElu(torch.autograd.Function):
    """See concat_elu. For the gradient its result is kept, which the next convolution keeps too.

    There is no `jvp`, because torch.compile does not take functions that have one.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, num_blocks: int) -> Tensor:
        if x.dtype == torch.float32 and torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # as the next convolution wants it
        minus = -x
        falling = torch.minimum(x, minus).expm1_()  # one exponential for both: elu(x) is max(x, expm1(-|x|))
        return join([torch.maximum(x, falling), torch.maximum(minus, falling)], num_blocks)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, int], output: Tensor) -> None:
        x, ctx.num_blocks = inputs
        ctx.dtype = x.dtype
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        """Made of differentiable operations, so that it has a gradient itself."""
        (output,) = ctx.saved_tensors
        grad = torch.ops.aten.elu_backward(grad, 1, 1, 1, True, output)  # below zero the slope is the value + 1
        plus, minus = grad.unflatten(1, (ctx.num_blocks, 2, -1)).unbind(2)
        return (plus - minus).flatten(1, 2).to(ctx.dtype), None
