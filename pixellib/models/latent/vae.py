"""Convolutional variational autoencoders, for any observation model.

Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014; beta: Higgins et al., "beta-VAE", ICLR 2017.

Deviations from the papers: the networks are ours, convolutions with SiLU where the first paper has one hidden layer;
the training bound may have several samples; there may be several stochastic layers.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pixellib.data.transforms import scale
from pixellib.likelihoods import Likelihood
from pixellib.models.checks import check_counts, check_shape, refuse_condition
from pixellib.models.latent.base import LatentModel, check_beta, gaussian, tanh_network
from pixellib.models.latent.residual import residual


class VAE(LatentModel):
    """Convolutions between pixels and z1, tanh layers between the latents above.

    Two convolutions of stride 2 lead down to a quarter of the size, two transposed ones back up, and convolutions of
    stride 1 give the likelihood's parameters, so that neighbouring pixels have seen the same features: 3 x 3 at the
    width of the network, then 1 x 1 to the parameters, which for a mixture are many.

    channels, size: C and (H, W), H and W multiples of 4. num_latents: dimension of z1, z2, ..., from the pixels up.
    num_filters: features of the convolutions next to the pixels, twice as many further down. depth: further residual
    3 x 3 convolutions at each size. num_samples: M of the training bound. beta: weight of log p(z) - log q(z | x) in
    the loss, positive and finite; bounds are always reported with weight 1. likelihood: Bernoulli() unless given.
    ValueError for other numbers and sizes.

    >>> from pixellib.likelihoods import LogisticMixture
    >>> model = VAE(3, (8, 8), num_latents=(4,), num_filters=8, likelihood=LogisticMixture(2))
    >>> x = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    >>> model.log_prob(x).shape, model.kind
    (torch.Size([2]), 'lower bound')
    >>> model.likelihood(model.decode(model.encode(x)[0])).mean.shape  # a reconstruction
    torch.Size([2, 3, 8, 8])
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
        super().__init__(channels, size, num_latents, num_samples, likelihood)
        check_shape(channels, size, multiple_of=4)
        check_counts(num_filters=num_filters)
        check_counts(at_least=0, depth=depth)
        check_beta(beta)
        self.beta = beta
        n, twice = num_filters, 2 * num_filters
        small = (twice, *(length // 4 for length in self.size))
        self.encoders = nn.ModuleList([
            nn.Sequential(
                nn.Conv2d(channels, n, 4, stride=2, padding=1), *residual(n, depth), nn.SiLU(),
                nn.Conv2d(n, twice, 4, stride=2, padding=1), *residual(twice, depth), nn.SiLU(),
                nn.Flatten(), nn.Linear(math.prod(small), 2 * num_latents[0]),
            ),
            *(tanh_network(below, 4 * above, 2 * above) for below, above in pairwise(num_latents)),
        ])  # fmt: skip
        self.decoders = nn.ModuleList([
            nn.Sequential(
                nn.Linear(num_latents[0], math.prod(small)), nn.Unflatten(-1, small), nn.SiLU(),
                *residual(twice, depth),
                nn.ConvTranspose2d(twice, twice, 4, stride=2, padding=1), nn.SiLU(), *residual(twice, depth),
                nn.ConvTranspose2d(twice, n, 4, stride=2, padding=1), nn.SiLU(),
                nn.Conv2d(n, n, 3, padding=1), nn.SiLU(),
                nn.Conv2d(n, self.likelihood.num_params(channels), 1),
            ),
            *(tanh_network(above, 4 * above, 2 * below) for below, above in pairwise(num_latents)),
        ])  # fmt: skip
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.encoders[0][0].weight
        return gaussian(self.encoders[0](scale(x, self.likelihood.num_levels).to(weight.dtype)))

    def decode(self, z: Tensor) -> Tensor:
        return self.decoders[0](z.flatten(0, -2)).unflatten(0, z.shape[:-1])

    def loss(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """-L_M with log p(z) - log q(z | x) weighted by beta, a scalar in nats per image."""
        refuse_condition(self, condition)
        log_likelihood, log_ratio = self.log_terms(x, self.num_samples)
        log_w = log_likelihood + self.beta * log_ratio
        return (math.log(self.num_samples) - log_w.logsumexp(0)).mean()
