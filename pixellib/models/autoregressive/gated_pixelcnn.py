"""Gated PixelCNN: a vertical and a horizontal stack, no blind spot.

Van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu, "Conditional image generation with PixelCNN
decoders", NIPS 2016, sections 2.1 to 2.3.

Deviations from the paper: kernels are cropped where the paper pads and shifts; dilations may be given; any likelihood,
not only a softmax; a condition is added to every gated layer but the vertical stack's last, which has no gate.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from pixellib.likelihoods import Categorical, Likelihood
from pixellib.models.autoregressive.channels import feature_channels, index_of
from pixellib.models.autoregressive.layers import CausalConv2d, Step, at_step, blocks_at, halves
from pixellib.models.autoregressive.two_stream import FirstLayer, LastLayers, TwoStreamModel, kernel_half_width
from pixellib.models.checks import check_counts


class GatedPixelCNN(TwoStreamModel):
    """num_layers gated layers of num_filters features in each of two stacks, then two 1 x 1 convolutions.

    The vertical stack sees all rows above a pixel, kernel_size // 2 more with each layer; the horizontal one the pixels
    to the left, and at each layer what the vertical one found.

    kernel_size: odd, at least 3. dilations: of each layer, 1 unless given. likelihood: Categorical() unless given.
    channels, size, num_classes, condition_channels, embedding, init_output: see AutoregressiveModel.

    ValueError for an even kernel_size, for numbers below 1, and for num_filters that ordered channels do not divide.

    >>> import torch
    >>> model = GatedPixelCNN(1, (6, 6), num_layers=2, num_filters=8, kernel_size=3, num_classes=10)
    >>> x, labels = torch.randint(256, (5, 1, 6, 6), dtype=torch.uint8), torch.arange(5)
    >>> model(x, labels).log_prob_per_pixel(x).shape
    torch.Size([5, 6, 6])
    >>> model.sample(5, condition=labels, given=(x, 3))[..., :3, :].equal(x[..., :3, :])
    True
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
        init_output: bool = False,
    ):
        likelihood = Categorical() if likelihood is None else likelihood
        super().__init__(
            channels, size, likelihood, num_classes=num_classes, condition_channels=condition_channels,
            embedding=embedding, init_output=init_output,
        )  # fmt: skip
        check_counts(num_layers=num_layers, num_filters=num_filters)
        half_width = kernel_half_width(kernel_size)
        dilations = (1,) * num_layers if dilations is None else tuple(dilations)
        if len(dilations) != num_layers:
            raise ValueError(f"one dilation per layer: got {len(dilations)} for {num_layers} layers")
        check_counts(**{f"dilations[{i}]": dilation for i, dilation in enumerate(dilations)})
        self.first = FirstLayer(self, num_filters, half_width)
        self.layers = nn.ModuleList(
            GatedLayer(num_filters, half_width, dilation, self.num_blocks) for dilation in dilations
        )
        self.last = LastLayers(self, num_filters)
        self.add_conditioning([2 * num_filters] * (2 * num_layers - 1))

    @property
    def output_layer(self) -> CausalConv2d:
        return self.last.last

    def vertical(self, above: Tensor, condition: list[Tensor], step: Step | None = None) -> list[Tensor]:
        v = self.first.above(above, step)
        links = [v]
        for i, layer in enumerate(self.layers):
            v, link = layer.down(v, step)
            links.append(link)
            if i + 1 < len(self.layers):  # nothing reads what the last layer's gate would give
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

    The vertical stack's features before their gate enter the horizontal one, which has a residual connection.
    num_blocks: of the horizontal features, one for each ordered channel; each has its own two halves.
    """

    def __init__(self, num_filters: int, half_width: int, dilation: int, num_blocks: int = 1):
        super().__init__()
        self.num_blocks = num_blocks
        once, twice = (feature_channels(n * num_filters, num_blocks) for n in (1, 2))
        self.index = index_of(twice)
        self.v = CausalConv2d(
            num_filters, 2 * num_filters, above=half_width, left=half_width, right=half_width, dilation=dilation
        )
        self.h = CausalConv2d(
            num_filters, 2 * num_filters, left=half_width, dilation=dilation, in_channel_index=once,
            out_channel_index=twice,
        )  # fmt: skip
        self.link = CausalConv2d(2 * num_filters, 2 * num_filters)
        self.mix = CausalConv2d(num_filters, num_filters, in_channel_index=once, out_channel_index=once)

    def down(self, v: Tensor, step: Step | None = None) -> tuple[Tensor, Tensor]:
        """The vertical stack's features before their gate, and what they add in the horizontal one, (B, 2 F, H, W)."""
        v = self.v(v, step)
        return v, self.link(v, step)

    def across(self, h: Tensor, link: Tensor, condition: Tensor | None = None, step: Step | None = None) -> Tensor:
        """The horizontal stack's features, (B, F, H, W), from those of the layer before. link: see `down`."""
        a = self.h(h, step) + at_step(link, step, self.index)
        if condition is not None:
            a = a + at_step(condition, step, self.index)
        return h + self.mix(gate(a, blocks_at(step, self.num_blocks)), step)


def gate(a: Tensor, num_blocks: int = 1) -> Tensor:
    """tanh of the first half of each block of features times sigmoid of the second: (B, 2 F, H, W) -> (B, F, H, W)."""
    a, b = halves(a, num_blocks)
    return (a.clone().tanh() * b.sigmoid()).flatten(1, 2)
