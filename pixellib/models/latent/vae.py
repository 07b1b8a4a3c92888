"""Convolutional variational autoencoders, for any observation model.

Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014; beta: Higgins et al., "beta-VAE", ICLR 2017.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pixellib.data.transforms import scale
from pixellib.likelihoods import Likelihood
from pixellib.models.latent.base import LatentModel, gaussian, tanh_network


class VAE(LatentModel):
    """Convolutions between pixels and z1, tanh layers between the latents above.

    Two convolutions of stride 2 lead down to a quarter of the size, two transposed ones back up, and convolutions of
    stride 1 give the likelihood's parameters, so that neighbouring pixels have seen the same features: 3 x 3 at the
    width of the network, then 1 x 1 to the parameters, which for a mixture are many.

    channels, size: C and (H, W), H and W multiples of 4. num_filters: channels next to the pixels, twice as many below. depth: further
    3 x 3 convolutions at each size. num_latents: size of z1, z2, ... num_samples: M of the training bound. beta: weight
    of log p(z) - log q(z | x) in the loss; bounds are always reported with weight 1.
    """

    def __init__(
        self,
        channels: int = 3,
        size: Sequence[int] = (32, 32),
        num_latents: Sequence[int] = (20,),
        num_filters: int = 32,
        depth: int = 0,
        num_samples: int = 1,
        beta: float = 1.0,
        likelihood: Likelihood | None = None,
    ):
        super().__init__((channels, *size), num_latents, num_samples, likelihood)
        if any(n % 4 for n in size):
            raise ValueError(f"height and width must be multiples of 4, got {tuple(size)}")
        if beta <= 0:
            raise ValueError(f"beta must be positive, got {beta}")
        self.beta = beta
        small = (2 * num_filters, *(n // 4 for n in size))
        self.encoders = nn.ModuleList([
            nn.Sequential(
                nn.Conv2d(channels, num_filters, 4, stride=2, padding=1), *_extra(num_filters, depth), nn.SiLU(),
                nn.Conv2d(num_filters, 2 * num_filters, 4, stride=2, padding=1), *_extra(2 * num_filters, depth), nn.SiLU(),
                nn.Flatten(), nn.Linear(math.prod(small), 2 * num_latents[0]),
            ),
            *(tanh_network(n, 4 * m, 2 * m) for n, m in pairwise(num_latents)),
        ])  # fmt: skip
        self.decoders = nn.ModuleList([
            nn.Sequential(
                nn.Linear(num_latents[0], math.prod(small)), nn.Unflatten(-1, small), nn.SiLU(),
                *_extra(2 * num_filters, depth),
                nn.ConvTranspose2d(2 * num_filters, 2 * num_filters, 4, stride=2, padding=1), nn.SiLU(), *_extra(2 * num_filters, depth),
                nn.ConvTranspose2d(2 * num_filters, num_filters, 4, stride=2, padding=1), nn.SiLU(),
                nn.Conv2d(num_filters, num_filters, 3, padding=1), nn.SiLU(),
                nn.Conv2d(num_filters, self.likelihood.num_params(channels), 1),
            ),
            *(tanh_network(m, 4 * m, 2 * n) for n, m in pairwise(num_latents)),
        ])  # fmt: skip
        self.to(memory_format=torch.channels_last)  # a third faster on a CPU

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z1 | x), each float (B, D), for x uint8 (B, C, H, W)."""
        weight = self.encoders[0][0].weight
        return gaussian(self.encoders[0](scale(x).to(weight.dtype)))

    def decode(self, z: Tensor) -> Tensor:
        """The likelihood's parameters (..., P, H, W) for z1, float (..., D)."""
        return self.decoders[0](z.flatten(0, -2)).unflatten(0, z.shape[:-1])

    def loss(self, x: Tensor, condition=None) -> Tensor:
        """-L_M with log p(z) - log q(z | x) weighted by beta, in nats per image."""
        log_likelihood, log_ratio = self.log_terms(x, self.num_samples)
        log_w = log_likelihood + self.beta * log_ratio
        return (math.log(self.num_samples) - log_w.logsumexp(0)).mean()


class _Residual(nn.Module):
    """x + f(x) with one 3 x 3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.f = nn.Sequential(nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x)


def _extra(channels: int, depth: int) -> list[nn.Module]:
    return [_Residual(channels) for _ in range(depth)]
