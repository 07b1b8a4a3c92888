"""Importance-weighted autoencoders of fully connected layers.

Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016.

Deviations from the paper: the encoder's input is centred on the mean training image; any likelihood, not only a
Bernoulli.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixellib.data.transforms import scale
from pixellib.likelihoods import Bernoulli, Likelihood
from pixellib.models.checks import check_counts
from pixellib.models.latent.base import LatentModel, gaussian, tanh_network


class IWAE(LatentModel):
    """The networks of Burda et al., section 5: tanh layers, Gaussian latents, one or two stochastic layers.

    x -> 200 -> 200 -> z (50) for one stochastic layer; x -> 200 -> 200 -> z1 (100) -> 100 -> 100 -> z2 (50) for two;
    the generative model runs the same sizes back. With num_samples = 1 the bound is the ELBO of a VAE.

    channels, size: C and (H, W) of an image. num_latents: dimension of z1, z2, ..., from the pixels up. num_hidden:
    features of the two deterministic layers beneath each of them. num_samples: M of the training bound. likelihood:
    Bernoulli() unless given, for images of 0 and 255. ValueError for numbers below 1, and for another number of
    num_hidden than of num_latents.

    >>> model = IWAE(1, (4, 4), num_latents=(2,), num_hidden=(8,), num_samples=5)
    >>> x = 255 * torch.randint(2, (3, 1, 4, 4), dtype=torch.uint8)
    >>> model.log_prob(x).shape, model.log_weights(x, 100).shape
    (torch.Size([3]), torch.Size([100, 3]))
    """

    def __init__(
        self,
        channels: int = 1,
        size: Sequence[int] = (28, 28),
        num_latents: Sequence[int] = (50,),
        num_hidden: Sequence[int] = (200,),
        num_samples: int = 1,
        likelihood: Likelihood | None = None,
    ):
        super().__init__(channels, size, num_latents, num_samples, likelihood)
        if len(num_latents) != len(num_hidden):
            raise ValueError(f"one hidden width per stochastic layer: got {len(num_hidden)} for {len(num_latents)}")
        check_counts(**{f"num_hidden[{i}]": count for i, count in enumerate(num_hidden)})
        num_params = self.likelihood.num_params(channels)
        below = (math.prod(self.shape), *num_latents[:-1])
        layers = list(zip(below, num_hidden, num_latents, strict=True))
        self.encoders = nn.ModuleList(tanh_network(n, h, 2 * z) for n, h, z in layers)
        self.decoders = nn.ModuleList(
            tanh_network(z, h, 2 * n if i else num_params * math.prod(self.size)) for i, (n, h, z) in enumerate(layers)
        )
        self.register_buffer("centre", torch.zeros(self.shape))

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Centre the encoder's input on the training images' mean, and start a Bernoulli decoder's bias there.

        The bias is the paper's; the centring is ours, and worth several nats in the first thousands of steps.
        """
        mean = images.sum(0, dtype=torch.int64) / len(images)
        self.centre.copy_(scale(mean, self.likelihood.num_levels))
        if isinstance(self.likelihood, Bernoulli):
            self.decoders[0][-1].bias.copy_(torch.logit(mean.flatten() / 255, eps=1e-3))

    def decode(self, z: Tensor) -> Tensor:
        return self.decoders[0](z).unflatten(-1, (-1, *self.size))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return gaussian(self.encoders[0]((scale(x, self.likelihood.num_levels) - self.centre).flatten(1)))
