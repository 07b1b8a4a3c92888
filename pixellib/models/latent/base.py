"""Models with Gaussian latents: M-sample bounds of log p(x), and samples from the top latent down to the pixels.

Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016. Equation numbers refer to it.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixellib.likelihoods import Bernoulli, Likelihood
from pixellib.models.base import ImageModel


class LatentModel(ImageModel):
    """p(x, z) = p(x | z1) p(z1 | z2) ... p(zL) and q(z | x) = q(z1 | x) q(z2 | z1) ..., all but p(x | z1) Gaussian.

    A subclass makes `encoders` (x -> z1, z1 -> z2, ...; each gives means and log standard deviations) and `decoders`
    (z1 -> the likelihood's parameters, z2 -> z1, ...), and says in `encode` and `decode` how pixels enter and leave.

    shape: (C, H, W) of an image. num_latents: size of z1, z2, ..., from the pixels up. num_samples: M of the training
    bound; 1 makes it the ELBO of a VAE. likelihood: Bernoulli unless given.
    """

    encoders: nn.ModuleList
    decoders: nn.ModuleList

    def __init__(
        self, shape: Sequence[int], num_latents: Sequence[int], num_samples: int, likelihood: Likelihood | None
    ):
        super().__init__()
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        self.shape, self.num_latents, self.num_samples = tuple(shape), tuple(num_latents), num_samples
        self.likelihood = likelihood or Bernoulli()

    @property
    def kind(self) -> str:
        """Of an image's probability, or of what its likelihood gives instead: a density, or nothing proper."""
        return "lower bound" if self.likelihood.kind == "mass" else self.likelihood.kind

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z1 | x), each float (B, D), for x uint8 (B, C, H, W)."""
        raise TypeError(f"{type(self).__name__} defines no encode")

    def decode(self, z: Tensor) -> Tensor:
        """The likelihood's parameters (..., P, H, W) for z1, float (..., D)."""
        raise TypeError(f"{type(self).__name__} defines no decode")

    def log_weights(self, x: Tensor, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """log w = log p(x, z) - log q(z | x) for M draws of z, float32 (M, B), in nats.

        Their log-mean-exp over M is the bound L_M of equation (8), and log p(x) as M grows.
        """
        return sum(self.log_terms(x, num_samples, generator))

    def log_terms(self, x: Tensor, num_samples: int, generator=None) -> tuple[Tensor, Tensor]:
        """The two terms of log w, each float32 (M, B): log p(x | z), and log p(z) - log q(z | x)."""
        mean, std = self.encode(x)
        latents: list[Tensor] = []
        log_ratio = 0
        for i in range(len(self.num_latents)):
            if i:
                mean, std = gaussian(self.encoders[i](latents[-1]))
            noise = torch.randn(
                (num_samples, len(x), self.num_latents[i]),
                generator=generator,
                device=x.device,
                dtype=mean.dtype,
            )
            z = mean + std * noise
            log_ratio = log_ratio + (0.5 * noise.square() + std.log()).sum(-1)  # - log q(z_i | ...), less D/2 log(2 pi)
            if i:
                prior_mean, prior_std = gaussian(self.decoders[i](z))
                standard = (latents[-1] - prior_mean) / prior_std
                log_ratio = log_ratio - (0.5 * standard.square() + prior_std.log()).sum(-1)  # log p(z_{i-1} | z_i)
            latents.append(z)
        log_ratio = log_ratio - 0.5 * latents[-1].square().sum(-1)  # the top prior is a standard Gaussian
        return self.likelihood(self.decode(latents[0])).log_prob(x), log_ratio

    def log_prob(self, x: Tensor, condition=None) -> Tensor:
        """The bound L_M with M = self.num_samples, float (B,), in nats; M = 1 is the ELBO."""
        return self.log_weights(x, self.num_samples).logsumexp(0) - math.log(self.num_samples)

    def decode_from_top(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The likelihood's parameters (..., P, H, W) for top-level z, drawing the layers between."""
        for decoder in reversed(self.decoders[1:]):
            mean, std = gaussian(decoder(z))
            z = mean + std * torch.randn(mean.shape, generator=generator, device=z.device, dtype=mean.dtype)
        return self.decode(z)

    def sample(self, num_samples: int, *, condition=None, generator: torch.Generator | None = None) -> Tensor:
        """Images drawn from the model, uint8 (num_samples, C, H, W)."""
        weight = next(self.parameters())
        with torch.no_grad():
            z = torch.randn(
                (num_samples, self.num_latents[-1]), generator=generator, device=weight.device, dtype=weight.dtype
            )
            return self.likelihood(self.decode_from_top(z, generator)).sample(generator=generator)


def tanh_network(num_in: int, num_hidden: int, num_out: int) -> nn.Sequential:
    """Two tanh layers and a linear one, Glorot-initialised as in the paper."""
    network = nn.Sequential(
        nn.Linear(num_in, num_hidden),
        nn.Tanh(),
        nn.Linear(num_hidden, num_hidden),
        nn.Tanh(),
        nn.Linear(num_hidden, num_out),
    )
    for layer in network[::2]:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return network


def gaussian(output: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, in at least float32, from a network's last layer."""
    mean, log_std = (output if output.dtype == torch.float64 else output.float()).chunk(2, -1)
    return mean, log_std.exp()
