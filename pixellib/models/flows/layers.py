"""Invertible layers of convolutional flows, and the network inside them.

Every layer maps z, float (B, C, H, W), to as many numbers: `layer(z)` returns them with the logarithm of the absolute
Jacobian determinant, float (B,), and `layer.inverse(z)` undoes it.

Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP", ICLR 2017; the gated network is of Ho, Chen,
Srinivas, Duan and Abbeel, "Flow++", ICML 2019, in the smaller form of the UvA deep learning tutorials.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixellib.likelihoods.base import at_least_float32
from pixellib.models.concat_elu import concat_elu


def checkerboard_mask(height: int, width: int, invert: bool = False) -> Tensor:
    """float (1, 1, H, W): 1 where the row and the column add up to an even number, else 0; the other way round if
    `invert`.

    >>> checkerboard_mask(2, 3)[0, 0]
    tensor([[1., 0., 1.],
            [0., 1., 0.]])
    """
    odd = (torch.arange(height)[:, None] + torch.arange(width)) % 2
    return (odd if invert else 1 - odd)[None, None].float()


def channel_mask(channels: int, invert: bool = False) -> Tensor:
    """float (1, C, 1, 1): 1 for the first half of the channels, else 0; the other way round if `invert`. ValueError for
    an odd number of channels.

    >>> channel_mask(4).flatten()
    tensor([1., 1., 0., 0.])
    """
    if channels % 2:
        raise ValueError(f"a channel mask halves the channels: their number must be even, got {channels}")
    first = (torch.arange(channels) < channels // 2) != invert
    return first[None, :, None, None].float()


class GatedConv(nn.Module):
    """x + a sigmoid(b), a and b being halves of two convolutions of x: float (B, F, H, W) -> the same."""

    def __init__(self, num_filters: int):
        super().__init__()
        self.first = nn.Conv2d(2 * num_filters, num_filters, kernel_size=3, padding=1)
        self.last = nn.Conv2d(2 * num_filters, 2 * num_filters, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.last(concat_elu(self.first(concat_elu(x)))).chunk(2, 1)
        return at_least_float32(x) + a * b.contiguous(memory_format=torch.channels_last).sigmoid()


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of each pixel's channels: float (B, F, H, W) -> the same."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GatedConvNet(nn.Module):
    """A convolution, gated residual layers with normalisation, a convolution: (B, C_in, H, W) -> (B, C_out, H, W).

    The last convolution begins at zero, so that a coupling layer begins as the identity.
    """

    def __init__(self, in_channels: int, out_channels: int, num_filters: int = 32, num_layers: int = 3):
        super().__init__()
        self.first = nn.Conv2d(in_channels, num_filters, kernel_size=3, padding=1)
        layers = [(GatedConv(num_filters), ChannelNorm(num_filters)) for _ in range(num_layers)]
        self.layers = nn.Sequential(*(part for layer in layers for part in layer))
        self.last = nn.Conv2d(2 * num_filters, out_channels, kernel_size=3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # channels last: oneDNN's quickest layout
        return self.last(concat_elu(self.layers(self.first(x))))


class AffineCoupling(nn.Module):
    """Real NVP's coupling layer: where the mask is 1, z stays and is seen by a network, which says how the rest is
    shifted and scaled.

    z -> (z + t) exp(s), with s = tanh(s' / e) e for a learned bound e > 0 of each channel. The sum of s is the
    log-determinant. mask: float, broadcast against z. condition: more channels that the network may see.

    >>> layer = AffineCoupling(GatedConvNet(1, 2, 8), checkerboard_mask(4, 4), channels=1)
    >>> z = torch.randn(2, 1, 4, 4)
    >>> y, log_det = layer(z)
    >>> bool(torch.equal(y, z)), log_det  # an untrained layer is the identity
    (True, tensor([0., 0.], grad_fn=<SumBackward1>))
    """

    def __init__(self, network: nn.Module, mask: Tensor, channels: int):
        super().__init__()
        self.network = network
        self.log_bound = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        scale, shift = self._scale_and_shift(z, condition)
        return (z + shift) * scale.exp(), scale.sum((1, 2, 3))

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        scale, shift = self._scale_and_shift(z, condition)
        return z * (-scale).exp() - shift

    def _scale_and_shift(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        seen = z * self.mask
        if condition is not None:
            seen = torch.cat([seen, condition], 1)
        scale, shift = (at_least_float32(part) * (1 - self.mask) for part in self.network(seen).chunk(2, 1))
        bound = self.log_bound.exp()[:, None, None]
        return (scale / bound).tanh() * bound, shift


class Squeeze(nn.Module):
    """Blocks of 2 x 2 pixels become channels: (B, C, H, W) -> (B, 4 C, H / 2, W / 2). Moves numbers only.

    ValueError, when called, for an odd height or width.
    """

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        if z.shape[-2] % 2 or z.shape[-1] % 2:
            raise ValueError(f"a squeeze needs an even height and width, got {tuple(z.shape[-2:])}")
        return F.pixel_unshuffle(z, 2), z.new_zeros(len(z))

    def inverse(self, z: Tensor) -> Tensor:
        return F.pixel_shuffle(z, 2)
