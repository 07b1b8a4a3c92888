"""Networks of two streams, one of the rows above a pixel and one of the pixels to its left, and their layers."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from pixellib.models.autoregressive.base import AutoregressiveModel
from pixellib.models.autoregressive.channels import feature_channels, index_of
from pixellib.models.autoregressive.layers import CausalConv2d, Step, at_step, in_float32, shift_down, shift_right
from pixellib.models.checks import check_counts


class TwoStreamModel(AutoregressiveModel):
    """An autoregressive model that sampling can step through, so that it computes nothing twice.

    A subclass defines two streams in place of `network`. `vertical` sees the rows above a pixel, and computes a whole
    row at a time; `horizontal` sees the pixels to the left, and what `vertical` found. Both take a `Step` when an image
    is drawn, and then compute only what is new in that row or at that pixel. A condition reaches them as `embed` makes
    it: what is added to the features of each of several layers.

    Arguments and errors: see AutoregressiveModel.
    """

    supports_cache: ClassVar[bool] = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.num_blocks = self.channels if self.channel_autoregressive else 1  # of the features, see feature_channels
        self.conditioning = None

    @abstractmethod
    def vertical(self, above: Tensor, condition: list[Tensor], step: Step | None = None) -> list[Tensor]:
        """Features for `horizontal`. above: the network's input shifted down by one row, (B, I, H, W)."""

    @abstractmethod
    def horizontal(
        self, left: Tensor, pixel: Tensor, vertical: list[Tensor], condition: list[Tensor], step: Step | None = None
    ) -> Tensor:
        """The likelihood's parameters, (B, P, H, W).

        left: the network's input shifted right by one pixel, so that each pixel holds its left neighbour. pixel: the
        input itself, of which later channels may see the earlier ones. vertical: of `vertical`.
        """

    def network(self, y: Tensor, condition: Tensor | None = None) -> Tensor:
        self.check_size(y.shape[-2:])
        parts = self.embed(condition)
        return self.horizontal(shift_right(y), y, self.vertical(shift_down(y), parts), parts)

    def add_conditioning(self, num_features: Sequence[int]) -> None:
        """Where the model takes a condition, make `embed` give so many features of it to each of several layers."""
        if self.num_classes is not None or self.condition_channels is not None:
            self.conditioning = Conditioning(self.num_classes, self.condition_channels, num_features)

    def embed(self, condition: Tensor | None) -> list[Tensor]:
        """What the layers add for a condition, each (B, F, 1, 1) for a class or (B, F, H, W) for a map; an empty list
        if the model takes none. ValueError if it is missing or superfluous.
        """
        self.check_presence(condition)
        return [] if condition is None else self.conditioning(condition)

    def feature_channels(self, num_features: int) -> Tensor | None:
        """The colour channel of each feature; None where the model is not autoregressive over channels."""
        return feature_channels(num_features, self.num_blocks)


class FirstLayer(nn.Module):
    """What both streams see of the image itself: the rows above and the pixels to the left, never their own pixel.

    Given the image shifted by a row and by a column, it sees as far as `half_width` pixels from the current one. Where
    the model is autoregressive over channels, features of later channels also see the earlier ones of their pixel.
    """

    def __init__(self, model: TwoStreamModel, num_filters: int, half_width: int):
        super().__init__()
        features = model.feature_channels(num_filters)
        self.index = index_of(features)
        self.above = CausalConv2d(
            model.num_inputs, num_filters, above=half_width - 1, left=half_width, right=half_width
        )
        self.left = CausalConv2d(model.num_inputs, num_filters, left=half_width - 1, out_channel_index=features)
        self.pixel = None
        if model.channel_autoregressive:
            self.pixel = CausalConv2d(
                model.num_inputs, num_filters, in_channel_index=model.feature_channels(model.num_inputs),
                out_channel_index=features, strict=True,
            )  # fmt: skip

    def forward(self, left: Tensor, pixel: Tensor, above: Tensor, step: Step | None = None) -> Tensor:
        """The first features of the horizontal stream, (B, num_filters, H, W).

        left, pixel: see TwoStreamModel.horizontal. above: what `self.above` made of the image shifted down.
        """
        h = self.left(left, step) + at_step(above, step, self.index)
        return h if self.pixel is None else h + self.pixel(pixel, step)


class LastLayers(nn.Module):
    """From features to the likelihood's parameters: two 1 x 1 convolutions, each after a ReLU."""

    def __init__(self, model: TwoStreamModel, num_filters: int):
        super().__init__()
        features = model.feature_channels(num_filters)
        num_params = model.likelihood.num_params(model.channels)
        self.hidden = CausalConv2d(num_filters, num_filters, in_channel_index=features, out_channel_index=features)
        self.last = CausalConv2d(
            num_filters, num_params, in_channel_index=features, out_channel_index=model.param_channel_index()
        )

    def forward(self, h: Tensor, step: Step | None = None) -> Tensor:
        return in_float32(self.last, F.relu(self.hidden(F.relu(h), step)), step)


class Conditioning(nn.Module):
    """For each of several layers, what a class (an embedding) or a map (a 1 x 1 convolution) adds to its features.

    Begins at zero, so that a conditioned model starts as an unconditioned one (location-independent and -dependent:
    van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders", section 2.3).
    """

    def __init__(self, num_classes: int | None, condition_channels: int | None, num_features: Sequence[int]):
        super().__init__()
        self.split = tuple(num_features)
        if num_classes is not None:
            self.layer = nn.Embedding(num_classes, sum(self.split))
        else:
            self.layer = nn.Conv2d(condition_channels, sum(self.split), 1, bias=False)
        nn.init.zeros_(self.layer.weight)

    def forward(self, condition: Tensor) -> list[Tensor]:
        out = self.layer(condition)
        return list((out[..., None, None] if out.dim() == 2 else out).split(self.split, 1))


def kernel_half_width(kernel_size: int) -> int:
    """kernel_size // 2. ValueError for an even size, which has no centre, and for sizes below 3."""
    check_counts(kernel_size=kernel_size)
    if kernel_size < 3 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and at least 3, got {kernel_size}")
    return kernel_size // 2
