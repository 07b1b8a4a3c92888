"""PixelCNN: a stack of masked convolutions.

Van den Oord, Kalchbrenner and Kavukcuoglu, "Pixel recurrent neural networks", ICML 2016, section 3.3.

Deviations from the paper: plain layers, without its residual blocks; of a masked kernel only the taps that the mask
leaves are stored and computed; any likelihood, not only a softmax; conditions, which are of the paper after it.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from pixellib.likelihoods import Categorical, Likelihood
from pixellib.models.autoregressive.channels import index_of
from pixellib.models.autoregressive.layers import CausalConv2d, Step, at_step
from pixellib.models.autoregressive.two_stream import FirstLayer, LastLayers, TwoStreamModel, kernel_half_width
from pixellib.models.checks import check_counts


class PixelCNN(TwoStreamModel):
    """num_layers masked kernel_size x kernel_size convolutions of num_filters features with ReLUs, then two 1 x 1 ones.

    Each layer is a convolution over the rows above and one over the pixels to the left. Pixels to the upper right, more
    than kernel_size // 2 columns away for each row, stay unseen: the blind spot.

    kernel_size: odd, at least 3. likelihood: Categorical() unless given. channels, size, num_classes,
    condition_channels, embedding, init_output: see AutoregressiveModel.

    ValueError for an even kernel_size, for numbers below 1, and for num_filters that ordered channels do not divide.

    >>> import torch
    >>> model = PixelCNN(1, (6, 6), num_layers=2, num_filters=8, kernel_size=3, likelihood=Categorical(4))
    >>> x = torch.randint(4, (5, 1, 6, 6), dtype=torch.uint8)
    >>> model.log_prob(x).shape, model.sample(2).shape
    (torch.Size([5]), torch.Size([2, 1, 6, 6]))
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
        init_output: bool = False,
    ):
        likelihood = Categorical() if likelihood is None else likelihood
        super().__init__(
            channels, size, likelihood, num_classes=num_classes, condition_channels=condition_channels,
            embedding=embedding, init_output=init_output,
        )  # fmt: skip
        check_counts(num_layers=num_layers, num_filters=num_filters)
        half_width = kernel_half_width(kernel_size)
        features = self.feature_channels(num_filters)
        self.index = index_of(features)
        among = {"in_channel_index": features, "out_channel_index": features}
        above = {"above": half_width, "left": half_width, "right": half_width, "current": False}
        self.first = FirstLayer(self, num_filters, half_width)
        self.above = nn.ModuleList(
            CausalConv2d(num_filters, num_filters, **above, **among) for _ in range(num_layers - 1)
        )
        self.left = nn.ModuleList(
            CausalConv2d(num_filters, num_filters, left=half_width, **among) for _ in range(num_layers - 1)
        )
        self.last = LastLayers(self, num_filters)
        self.add_conditioning([num_filters] * num_layers)

    @property
    def output_layer(self) -> CausalConv2d:
        return self.last.last

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
                h = h + at_step(condition[i], step, self.index)
        return self.last(h, step)
