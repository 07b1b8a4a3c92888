"""PixelCNN: a stack of masked convolutions.

Van den Oord, Kalchbrenner and Kavukcuoglu, "Pixel recurrent neural networks", ICML 2016. Plain
layers, without the residual blocks of the paper.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from pixellib.likelihoods import Categorical, Likelihood
from pixellib.models.autoregressive.base import AutoregressiveModel, FirstLayer, LastLayers, check_sizes
from pixellib.models.autoregressive.layers import CausalConv2d, Step, here, index_groups


class PixelCNN(AutoregressiveModel):
    """num_layers masked kernel_size x kernel_size convolutions of `num_filters` features with ReLUs, then two 1 x 1 convolutions.

    What a mask would cut from a kernel is never computed: each layer is a convolution over the rows above and one over
    the pixels to the left. Pixels to the upper right of the last layers' reach stay unseen: the blind spot.

    channels, size, likelihood, num_classes, condition_channels, embedding: see AutoregressiveModel. ValueError for an
    even kernel_size, or num_filters that ordered channels do not divide.
    """

    def __init__(
        self,
        channels: int = 1,
        size: Sequence[int] = (28, 28),
        num_layers: int = 5,
        num_filters: int = 30,
        kernel_size: int = 5,
        likelihood: Likelihood | None = None,
        num_classes: int | None = None,
        condition_channels: int | None = None,
        embedding: int | None = None,
    ):
        likelihood = likelihood or Categorical()
        super().__init__(
            channels, size, likelihood, num_classes=num_classes, condition_channels=condition_channels,
            embedding=embedding,
        )  # fmt: skip
        reach = check_sizes(kernel_size, num_layers=num_layers, num_filters=num_filters)
        features = self.groups_of(num_filters)
        self.features = index_groups(features)
        among = {"in_groups": features, "out_groups": features}
        self.first = FirstLayer(self, num_filters, reach)
        self.above = nn.ModuleList(
            CausalConv2d(num_filters, num_filters, above=reach, left=reach, right=reach, current=False, **among)
            for _ in range(num_layers - 1)
        )
        self.left = nn.ModuleList(
            CausalConv2d(num_filters, num_filters, left=reach, **among) for _ in range(num_layers - 1)
        )
        self.last = LastLayers(self, num_filters)
        self.add_conditioning([num_filters] * num_layers)

    def vertical(self, above: Tensor, condition: list[Tensor], step: Step | None = None) -> list[Tensor]:
        return [self.first.above(above, step)]

    def horizontal(
        self, left: Tensor, pixel: Tensor, vertical: list[Tensor], condition: list[Tensor], step: Step | None = None
    ) -> Tensor:
        h = self.first(left, pixel, vertical[0], step)
        for i in range(len(self.above) + 1):
            if i:
                h = F.relu(h)
                h = self.above[i - 1](h, step) + self.left[i - 1](h, step)
            if condition:
                h = h + here(condition[i], step, self.features)
        return self.last(h, step)
