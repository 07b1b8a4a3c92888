"""Gated PixelCNN: a vertical and a horizontal stack, no blind spot.

Van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu, "Conditional image generation with PixelCNN
decoders", NIPS 2016, sections 2.1 to 2.3.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from pixellib.likelihoods import Categorical, Likelihood
from pixellib.models.autoregressive.base import AutoregressiveModel, FirstLayer, LastLayers, check_sizes
from pixellib.models.autoregressive.layers import CausalConv2d, Step, groups_at, groups_of, here, index_groups


class GatedPixelCNN(AutoregressiveModel):
    """num_layers gated layers of `num_filters` features in each of two stacks, then two 1 x 1 convolutions.

    The vertical stack sees all rows above a pixel, kernel_size // 2 more with each layer; the horizontal one the pixels to
    the left, and at each layer what the vertical one found. dilations: of each layer, 1 unless given.

    channels, size, likelihood, num_classes, condition_channels, embedding, spread: see AutoregressiveModel. ValueError
    for an even kernel_size, or num_filters that ordered channels do not divide.
    """

    def __init__(
        self,
        channels: int = 1,
        size: Sequence[int] = (28, 28),
        num_layers: int = 5,
        num_filters: int = 32,
        kernel_size: int = 5,
        dilations: Sequence[int] | None = None,
        likelihood: Likelihood | None = None,
        num_classes: int | None = None,
        condition_channels: int | None = None,
        embedding: int | None = None,
        spread: bool = False,
    ):
        likelihood = likelihood or Categorical()
        super().__init__(
            channels, size, likelihood, num_classes=num_classes, condition_channels=condition_channels,
            embedding=embedding, spread=spread,
        )  # fmt: skip
        reach = check_sizes(kernel_size, num_layers=num_layers, num_filters=num_filters)
        dilations = (1,) * num_layers if dilations is None else tuple(dilations)
        if len(dilations) != num_layers:
            raise ValueError(f"one dilation per layer: got {len(dilations)} for {num_layers} layers")
        self.first = FirstLayer(self, num_filters, reach)
        self.layers = nn.ModuleList(GatedLayer(num_filters, reach, dilation, self.num_groups) for dilation in dilations)
        self.last = LastLayers(self, num_filters)
        self.add_conditioning([2 * num_filters] * (2 * num_layers - 1))

    def vertical(self, above: Tensor, condition: list[Tensor], step: Step | None = None) -> list[Tensor]:
        v = self.first.above(above, step)
        links = [v]
        for i, layer in enumerate(self.layers):
            v, link = layer.down(v, step)
            links.append(link)
            if i + 1 < len(self.layers):  # nobody asks the last layer
                v = gate(v + condition[2 * i + 1] if condition else v)
        return links

    def horizontal(
        self, left: Tensor, pixel: Tensor, vertical: list[Tensor], condition: list[Tensor], step: Step | None = None
    ) -> Tensor:
        h = self.first(left, pixel, vertical[0], step)
        for i, layer in enumerate(self.layers):
            h = layer.across(h, vertical[i + 1], condition[2 * i] if condition else None, step)
        return self.last(h, step)


class GatedLayer(nn.Module):
    """Equation (2) of the paper in each stack: tanh(a) sigmoid(b), a and b being halves of one convolution's output.

    The vertical stack's half-way features enter the horizontal one; that has a residual connection. num_groups: of
    ordered channels among the horizontal features; each has its own two halves.
    """

    def __init__(self, width: int, reach: int, dilation: int, num_groups: int = 1):
        super().__init__()
        self.num_groups = num_groups
        features, twice = groups_of(width, num_groups), groups_of(2 * width, num_groups)
        self.twice = index_groups(twice)
        self.v = CausalConv2d(width, 2 * width, above=reach, left=reach, right=reach, dilation=dilation)
        self.h = CausalConv2d(width, 2 * width, left=reach, dilation=dilation, in_groups=features, out_groups=twice)
        self.link = CausalConv2d(2 * width, 2 * width)
        self.mix = CausalConv2d(width, width, in_groups=features, out_groups=features)

    def down(self, v: Tensor, step: Step | None = None) -> tuple[Tensor, Tensor]:
        """The vertical stack's features before their gate, and what they add in the horizontal one, (B, 2 F, H, W)."""
        v = self.v(v, step)
        return v, self.link(v, step)

    def across(self, h: Tensor, link: Tensor, condition: Tensor | None = None, step: Step | None = None) -> Tensor:
        a = self.h(h, step) + here(link, step, self.twice)
        if condition is not None:
            a = a + here(condition, step, self.twice)
        return h + self.mix(gate(a, groups_at(step, self.num_groups)), step)


def gate(a: Tensor, num_groups: int = 1) -> Tensor:
    """tanh of the first half of each group's features times sigmoid of the second."""
    a, b = a.unflatten(1, (num_groups, 2, -1)).unbind(2)
    return (a.tanh() * b.sigmoid()).flatten(1, 2)
