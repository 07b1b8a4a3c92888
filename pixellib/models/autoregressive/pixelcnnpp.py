"""PixelCNN++, as its authors released it.

Salimans, Karpathy, Chen and Kingma, "PixelCNN++: Improving the PixelCNN with discretized logistic mixture likelihood
and other modifications", ICLR 2017. Where the paper's figure and text disagree about the number of layers, the released
code decides. Weight normalisation and its initialisation from data: Salimans and Kingma, NIPS 2016.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import parametrizations, parametrize

from pixellib.likelihoods import Likelihood, LogisticMixture
from pixellib.likelihoods.base import at_least_float32
from pixellib.models.autoregressive.base import AutoregressiveModel
from pixellib.models.autoregressive.layers import (
    CausalConv2d,
    CausalUpsample2d,
    Step,
    groups_at,
    groups_of,
    here,
    in_float32,
    index_groups,
)

NUM_LEVELS = 3  # full, half and quarter size


class PixelCNNpp(AutoregressiveModel):
    """Residual layers at three sizes, in and out again: num_resnets at each on the way in, as many on the way out, and
    one more at the two larger sizes, each seeing its counterpart of the way in.

    Every layer has an upper stream, of the rows above, and an upper-left one, which also sees the pixels to the left.
    Sizes must be divisible by 4. likelihood: LogisticMixture(10) unless given. num_head_filters: features of one more layer,
    of single pixels, before its parameters; none if not given. shortcuts, weight_norm: may be left out to see what they
    are worth. channels, size, num_classes, embedding, spread: see AutoregressiveModel.

    ValueError for fewer than 1 layer or filter, and for num_filters or num_head_filters that ordered channels do not
    divide.
    """

    def __init__(
        self,
        channels: int = 3,
        num_filters: int = 160,
        num_resnets: int = 5,
        likelihood: Likelihood | None = None,
        size: Sequence[int] = (32, 32),
        num_classes: int | None = None,
        embedding: int | None = None,
        dropout: float = 0.5,
        shortcuts: bool = True,
        weight_norm: bool = True,
        num_head_filters: int | None = None,
        spread: bool = False,
    ):
        likelihood = likelihood or LogisticMixture(10)
        super().__init__(channels, size, likelihood, num_classes=num_classes, embedding=embedding, spread=spread)
        if min(num_filters, num_resnets) < 1:
            raise ValueError(f"num_filters and num_resnets must be at least 1, got {num_filters}, {num_resnets}")
        self.check_size(size)
        features = self.groups_of(num_filters)
        self.features = index_groups(features)
        seen = self.num_inputs + 1  # with a channel of ones, by which a network knows where the image ends
        self.first_u = CausalConv2d(seen, num_filters, above=1, left=1, right=1)
        self.first_above = CausalConv2d(seen, num_filters, left=1, right=1, out_groups=features)
        self.first_left = CausalConv2d(seen, num_filters, above=1, out_groups=features)
        self.first_pixel = None
        if self.channel_autoregressive:
            among = {"in_groups": self.groups_of(self.num_inputs), "out_groups": features}
            self.first_pixel = CausalConv2d(self.num_inputs, num_filters, strict=True, **among)
        block = {"width": num_filters, "num_groups": self.num_groups, "dropout": dropout}
        self.body = Level(num_resnets, NUM_LEVELS - 1, shortcuts, block)
        self.hidden = None
        last_width = num_filters if num_head_filters is None else num_head_filters
        groups = self.groups_of(last_width)
        if num_head_filters is not None:
            self.hidden = CausalConv2d(num_filters, num_head_filters, in_groups=features, out_groups=groups)
        self.last = CausalConv2d(
            last_width, self.likelihood.num_params(channels), in_groups=groups, out_groups=self.parameter_groups()
        )
        for index, layer in enumerate(self.body.blocks()):
            layer.index = index
        self.add_conditioning([2 * num_filters] * (index + 1))
        if weight_norm:
            for layer in self.convolutions():
                parametrizations.weight_norm(layer, dim=int(isinstance(layer, CausalUpsample2d)))

    def check_size(self, size: Sequence[int]) -> None:
        if any(n % 2 ** (NUM_LEVELS - 1) for n in size):
            raise ValueError(f"PixelCNNpp is for heights and widths divisible by 4, got {tuple(size)}")

    def convolutions(self) -> Iterator[CausalConv2d | CausalUpsample2d]:
        """All convolutions, in the order in which the released code makes them."""
        yield from (self.first_u, self.first_above, self.first_left)
        if self.first_pixel is not None:
            yield self.first_pixel
        yield from self.body.convolutions()
        if self.hidden is not None:
            yield self.hidden
        yield self.last

    def vertical(self, above: Tensor, condition: list[Tensor], step: Step | None = None) -> list:
        ones = torch.ones_like(above[:, :1])
        if step is None:
            ones[:, :, 0] = 0
        elif step.row == 0:
            ones.zero_()
        above = torch.cat([above, ones], 1)
        # The released network shifts pictures after convolving them: what comes in at the edge is 0, without a bias.
        left, u = (in_float32(layer, above, step) * ones for layer in (self.first_above, self.first_u))
        return [left, self.body.vertical(u, condition, step)[1]]

    def horizontal(
        self, left: Tensor, pixel: Tensor, vertical: list, condition: list[Tensor], step: Step | None = None
    ) -> Tensor:
        ones = torch.ones_like(left[:, :1])
        if step is None or step.column is None:
            ones[..., 0] = 0
        elif step.column == 0:
            ones.zero_()
        above, seen = vertical
        left = in_float32(self.first_left, torch.cat([left, ones], 1), step) * ones
        ul = here(above, step, self.features) + left
        if self.first_pixel is not None:
            ul = ul + in_float32(self.first_pixel, pixel, step)
        features = F.elu(self.body.horizontal(ul, seen, condition, step))
        if self.hidden is not None:
            features = F.elu(in_float32(self.hidden, features, step))
        return in_float32(self.last, features, step)

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Gains and biases such that every feature begins with mean 0 and standard deviation 1 over (some) images; 0.1
        where a block ends.
        """
        ends = {id(block.last) for block in self.body.blocks()}
        hooks = [
            layer.register_forward_hook(partial(_standardise, 0.1 if id(layer) in ends else 1.0))
            for layer in self.convolutions()
            if parametrize.is_parametrized(layer)
        ]
        try:
            self.params(images[:64].to(self.last.bias.device), self._any_condition(min(64, len(images))))
        finally:
            for hook in hooks:
                hook.remove()
        super().initialise(images)

    @property
    def output_layer(self) -> CausalConv2d:
        return self.last

    def _any_condition(self, num_images: int) -> Tensor | None:
        return None if self.num_classes is None else torch.arange(num_images) % self.num_classes


class Level(nn.Module):
    """The layers at one size, and within them those at the smaller ones."""

    def __init__(self, num_resnets: int, num_smaller: int, shortcuts: bool, block: dict):
        super().__init__()
        width, num_groups = block["width"], block["num_groups"]
        of = groups_of(width, num_groups)
        self.features, self.num_groups, self.shortcuts = index_groups(of), num_groups, shortcuts
        skip = int(shortcuts)
        num_out = num_resnets + (num_smaller > 0)
        self.u_in = nn.ModuleList(GatedResnet(**{**block, "num_groups": 1}, right=1) for _ in range(num_resnets))
        self.ul_in = nn.ModuleList(GatedResnet(**block, num_auxiliary=1) for _ in range(num_resnets))
        self.u_out = nn.ModuleList(
            GatedResnet(**{**block, "num_groups": 1}, right=1, num_auxiliary=skip) for _ in range(num_out)
        )
        self.ul_out = nn.ModuleList(GatedResnet(**block, num_auxiliary=1 + skip) for _ in range(num_out))
        self.smaller = None
        if num_smaller:
            among = {"in_groups": of, "out_groups": of}
            self.u_down = CausalConv2d(width, width, above=1, left=1, right=1, stride=2)
            self.ul_down = CausalConv2d(width, width, above=1, left=1, stride=2, **among)
            self.smaller = Level(num_resnets, num_smaller - 1, shortcuts, block)
            self.u_up = CausalUpsample2d(width, width, columns=3)
            self.ul_up = CausalUpsample2d(width, width, **among)

    def blocks(self) -> Iterator["GatedResnet"]:
        """All residual blocks, the upper and the upper-left one of each layer in turn."""
        yield from (block for pair in zip(self.u_in, self.ul_in, strict=True) for block in pair)
        if self.smaller is not None:
            yield from self.smaller.blocks()
        yield from (block for pair in zip(self.u_out, self.ul_out, strict=True) for block in pair)

    def convolutions(self) -> Iterator[nn.Module]:
        """See PixelCNNpp.convolutions."""
        for u, ul in zip(self.u_in, self.ul_in, strict=True):
            yield from (*u.convolutions(), *ul.convolutions())
        if self.smaller is not None:
            yield from (self.u_down, self.ul_down, *self.smaller.convolutions(), self.u_up, self.ul_up)
        for u, ul in zip(self.u_out, self.ul_out, strict=True):
            yield from (*u.convolutions(), *ul.convolutions())

    def vertical(self, u: Tensor, condition: list[Tensor], step: Step | None) -> tuple[Tensor, tuple]:
        """The upper stream, and what the upper-left one sees of it: on the way in, at smaller sizes, on the way out.

        Between the rows of a smaller size there is nothing new in it, and what it saw is None.
        """
        passed, back, smaller = [u], [], None
        for block in self.u_in:
            passed.append(block(passed[-1], None, condition, step))
        skips = list(passed)
        if self.smaller is None:
            u = skips.pop()
        else:
            down = self.u_down(passed[-1], step)
            if down is not None:
                down, smaller = self.smaller.vertical(down, condition, step and step.halved())
            u = self.u_up(down, step)
        for block in self.u_out:
            u = block(u, skips.pop() if self.shortcuts else None, condition, step)
            back.append(u)
        return u, (passed[1:], smaller, back)

    def horizontal(self, ul: Tensor, seen: tuple, condition: list[Tensor], step: Step | None) -> Tensor:
        """The upper-left stream, with what the upper one gave."""
        coming, smaller, going = seen
        skips = [ul]
        for block, u in zip(self.ul_in, coming, strict=True):
            skips.append(block(skips[-1], here(u, step, self.features), condition, step))
        if self.smaller is None:
            ul = skips.pop()
        else:
            down = self.ul_down(skips[-1], step)
            if down is not None:
                down = self.smaller.horizontal(down, smaller, condition, step and step.halved())
            ul = self.ul_up(down, step)
        for block, u in zip(self.ul_out, going, strict=True):
            auxiliary = here(u, step, self.features)
            if self.shortcuts:
                auxiliary = join([auxiliary, skips.pop()], groups_at(step, self.num_groups))
            ul = block(ul, auxiliary, condition, step)
        return ul


class GatedResnet(nn.Module):
    """x + a sigmoid(b), a and b being halves of two convolutions of x, between which auxiliary features are added. The
    sum is one in float32, whatever autocasting is on.

    right: how far the kernels of 2 rows see to the right; 0 or 1. num_auxiliary: how many streams are added.
    """

    def __init__(self, width: int, num_groups: int, dropout: float, right: int = 0, num_auxiliary: int = 0):
        super().__init__()
        once, twice = (groups_of(n * width, num_groups) for n in (1, 2))
        self.num_groups, self.twice, self.index = num_groups, index_groups(twice), 0
        reach = {"above": 1, "left": 1, "right": right, "in_groups": twice}
        self.first = CausalConv2d(2 * width, width, **reach, out_groups=once)
        self.auxiliary = None
        if num_auxiliary:
            num_in = 2 * num_auxiliary * width
            self.auxiliary = CausalConv2d(num_in, width, in_groups=groups_of(num_in, num_groups), out_groups=once)
        self.dropout = nn.Dropout(dropout)
        self.last = CausalConv2d(2 * width, 2 * width, **reach, out_groups=twice)

    def convolutions(self) -> Iterator[CausalConv2d]:
        yield from (layer for layer in (self.first, self.auxiliary, self.last) if layer is not None)

    def forward(self, x: Tensor, auxiliary: Tensor | None, condition: list[Tensor], step: Step | None) -> Tensor:
        num_groups = groups_at(step, self.num_groups)
        h = self.first(concat_elu(x, num_groups), step)
        if self.auxiliary is not None:
            h = h + self.auxiliary(concat_elu(auxiliary, num_groups), step)
        h = self.last(self.dropout(concat_elu(h, num_groups)), step)
        if condition:
            h = h + here(condition[self.index], step, self.twice)
        return at_least_float32(x) + F.glu(h.unflatten(1, (num_groups, -1)), 2).flatten(1, 2)


def join(streams: Sequence[Tensor], num_groups: int) -> Tensor:
    """Features side by side, (B, F, H, W) each, group by group."""
    if num_groups == 1:
        return torch.cat(streams, 1)
    return torch.cat([stream.unflatten(1, (num_groups, -1)) for stream in streams], 2).flatten(1, 2)


def concat_elu(x: Tensor, num_groups: int = 1) -> Tensor:
    """elu of x and of -x, so that no sign is lost: twice as many features, group by group."""
    return _ConcatElu.apply(x, num_groups)


class _ConcatElu(torch.autograd.Function):
    """See concat_elu. Only x is kept for the gradient, half of what its result holds."""

    @staticmethod
    def forward(ctx, x: Tensor, num_groups: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.num_groups = num_groups
        return F.elu(join([x, -x], num_groups), inplace=True)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (x,) = ctx.saved_tensors
        positive, negative = grad.unflatten(1, (ctx.num_groups, 2, -1)).unbind(2)
        x = x.unflatten(1, (ctx.num_groups, -1))
        rising, falling = x.clamp(max=0).exp_(), x.clamp(min=0).neg_().exp_()  # slopes of elu at x and at -x
        return rising.mul_(positive).addcmul_(falling, negative, value=-1).flatten(1, 2), None


def _standardise(target: float, layer: nn.Module, inputs, output: Tensor) -> Tensor:
    """Give a layer's features, per channel, mean 0 and standard deviation `target`, and return its output then."""
    factor = target / output.std((0, 2, 3), correction=0).clamp(min=1e-5)
    shift = -output.mean((0, 2, 3)) * factor
    gain = layer.parametrizations.weight.original0
    gain.mul_(factor.view(gain.shape))
    layer.bias.mul_(factor).add_(shift)
    return output * factor[:, None, None] + shift[:, None, None]
