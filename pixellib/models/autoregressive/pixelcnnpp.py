"""PixelCNN++, as its authors released it.

Salimans, Karpathy, Chen and Kingma, "PixelCNN++: Improving the PixelCNN with discretized logistic mixture likelihood
and other modifications", ICLR 2017. Weight normalisation and its initialisation from data: Salimans and Kingma, "Weight
normalization", NIPS 2016.

Deviations from the paper: where its figure and text disagree about the number of layers, the released code decides.
Deviations from the released code: the likelihood is exact where the code replaces small masses by a density; any other
likelihood may be used, then autoregressive over the channels if its parameters serve single ones; the options
`embedding`, `num_head_filters`, `init_output`, `num_scales`, `data_init` and `output_std` are ours; gains and biases
are initialised from 64 images (there 100); the weights of a class begin at zero; samples are integers.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from pixellib.likelihoods import Likelihood, LogisticMixture
from pixellib.likelihoods.base import gain_of
from pixellib.models.autoregressive.channels import index_of
from pixellib.models.autoregressive.layers import CausalConv2d, CausalUpsample2d, Step, at_step, blocks_at, in_float32
from pixellib.models.autoregressive.pixelcnnpp_layers import GatedResnet, Scale, Stream
from pixellib.models.autoregressive.two_stream import TwoStreamModel
from pixellib.models.checks import check_counts

__all__ = ["GatedResnet", "PixelCNNpp", "Stream"]

NUM_LOOKED_AT = 64  # images from which the initialisation takes its statistics


class PixelCNNpp(TwoStreamModel):
    """Residual layers at several scales, in and out again: num_resnets at each on the way in, as many on the way out,
    and one more at all but the smallest scale, each seeing its counterpart of the way in.

    Every layer has an upper stream, of the rows above, and an upper-left one, which also sees the pixels to the left.

    num_scales: 3 are full, half and quarter size. size: divisible by 2 for every scale but the first. likelihood:
    LogisticMixture(10) unless given. dropout: probability in [0, 1). shortcuts, weight_norm, data_init (initialisation
    from data): may be left out to see what they are worth. output_std: standard deviation of the parameters after the
    initialisation from data. num_head_filters: features of one more layer, of single pixels, before the last; no such
    layer if None. channels, num_classes, embedding, init_output: see AutoregressiveModel.

    ValueError for numbers below 1, for an output_std that is not positive, for a size that the scales do not divide,
    and for num_filters or num_head_filters that ordered channels do not divide.

    >>> model = PixelCNNpp(3, num_filters=8, num_resnets=1, likelihood=LogisticMixture(2), size=(8, 8)).eval()
    >>> x = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    >>> model.initialise(x)
    >>> model(x).log_prob_per_pixel(x).shape
    torch.Size([2, 8, 8])
    >>> model.sample(1).shape
    torch.Size([1, 3, 8, 8])
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
        init_output: bool = False,
        num_scales: int = 3,
        data_init: bool = True,
        output_std: float = 1.0,
    ):
        likelihood = LogisticMixture(10) if likelihood is None else likelihood
        super().__init__(
            channels, size, likelihood, num_classes=num_classes, embedding=embedding, init_output=init_output
        )
        last_width = num_filters if num_head_filters is None else num_head_filters
        check_counts(
            num_filters=num_filters, num_resnets=num_resnets, num_head_filters=last_width, num_scales=num_scales
        )
        self.num_scales, self.data_init, self.output_std = num_scales, data_init, output_std
        self.check_size(self.size)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        if not output_std > 0:
            raise ValueError(f"output_std must be positive, got {output_std}")
        features = self.feature_channels(num_filters)
        self.index = index_of(features)
        seen = self.num_inputs + 1  # with a channel of ones, by which a network knows where the image ends
        self.first_u = CausalConv2d(seen, num_filters, above=1, left=1, right=1)
        self.first_above = CausalConv2d(seen, num_filters, left=1, right=1, out_channel_index=features)
        self.first_left = CausalConv2d(seen, num_filters, above=1, out_channel_index=features)
        self.first_pixel = None
        if self.channel_autoregressive:
            among = {"in_channel_index": self.feature_channels(self.num_inputs), "out_channel_index": features}
            self.first_pixel = CausalConv2d(self.num_inputs, num_filters, strict=True, **among)
        block = {"num_filters": num_filters, "num_blocks": self.num_blocks, "dropout": dropout}
        self.body = Scale(num_resnets, num_scales - 1, shortcuts, block)
        self.hidden = None
        last_features = self.feature_channels(last_width)
        if num_head_filters is not None:
            among = {"in_channel_index": features, "out_channel_index": last_features}
            self.hidden = CausalConv2d(num_filters, num_head_filters, **among)
        among = {"in_channel_index": last_features, "out_channel_index": self.param_channel_index()}
        self.last = CausalConv2d(last_width, self.likelihood.num_params(channels), **among)
        self.add_conditioning([2 * num_filters] * len(list(self.body.blocks())))
        if weight_norm:
            for layer in self.convolutions():
                parametrizations.weight_norm(layer, dim=int(isinstance(layer, CausalUpsample2d)))

    @property
    def output_layer(self) -> CausalConv2d:
        return self.last

    def check_size(self, size: Sequence[int]) -> None:
        factor = 2 ** (self.num_scales - 1)
        if any(n % factor for n in size):
            raise ValueError(f"this PixelCNNpp is for heights and widths divisible by {factor}, got {tuple(size)}")

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
        return [left, self.body.vertical(Stream(u), condition, step)[1]]

    def horizontal(
        self, left: Tensor, pixel: Tensor, vertical: list, condition: list[Tensor], step: Step | None = None
    ) -> Tensor:
        ones = torch.ones_like(left[:, :1])
        if step is None or step.column is None:
            ones[..., 0] = 0
        elif step.column == 0:
            ones.zero_()
        above, upper = vertical
        left = in_float32(self.first_left, torch.cat([left, ones], 1), step) * ones
        ul = at_step(above, step, self.index) + left
        if self.first_pixel is not None:
            ul = ul + in_float32(self.first_pixel, pixel, step)
        ul = Stream(ul, blocks_at(step, self.num_blocks))
        features = F.elu(self.body.horizontal(ul, upper, condition, step).features)
        if self.hidden is not None:
            features = F.elu(in_float32(self.hidden, features, step))
        return in_float32(self.last, features, step)

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Gains and biases such that every feature begins with mean 0 and standard deviation 1 over the first images;
        0.1 where a block ends, output_std for the parameters. Without weight normalisation or data_init this is left
        out. Then see AutoregressiveModel.initialise.
        """
        targets = {id(block.last): 0.1 for block in self.body.blocks()} | {id(self.last): self.output_std}
        hooks = [
            layer.register_forward_hook(partial(_standardise, targets.get(id(layer), 1.0)))
            for layer in self.convolutions()
            if self.data_init and parametrize.is_parametrized(layer)
        ]
        try:
            images = images[:NUM_LOOKED_AT].to(self.last.bias.device)
            self.params(images, self._any_condition(len(images)))
        finally:
            for hook in hooks:
                hook.remove()
        super().initialise(images)

    def _any_condition(self, num_images: int) -> Tensor | None:
        return None if self.num_classes is None else torch.arange(num_images) % self.num_classes


def _standardise(target: float, layer: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    """Give a layer's features, per channel, mean 0 and standard deviation `target`, and return its output then."""
    factor = target / output.std((0, 2, 3), correction=0).clamp(min=1e-5)
    shift = -output.mean((0, 2, 3)) * factor
    gain = gain_of(layer)
    gain.mul_(factor.view(gain.shape))
    layer.bias.mul_(factor).add_(shift)
    return output * factor[:, None, None] + shift[:, None, None]
