"""Residual convolutions, which the convolutional models with latents share."""

from torch import Tensor, nn


class Residual(nn.Module):
    """x + f(x) with one 3 x 3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.f = nn.Sequential(nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x)


def residual(channels: int, depth: int) -> list[nn.Module]:
    """So many residual convolutions."""
    return [Residual(channels) for _ in range(depth)]
