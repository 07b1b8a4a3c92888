"""Models with Gaussian latents: M-sample bounds of log p(x), and samples from the top latent down to the pixels.

Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016. Equation numbers refer to it.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from pixellib.likelihoods import Bernoulli, Likelihood
from pixellib.likelihoods.base import at_least_float32
from pixellib.models.base import WeightedModel
from pixellib.models.checks import (
    check_counts,
    check_images,
    check_likelihood,
    check_sampling,
    check_shape,
    refuse_condition,
)


class LatentModel(WeightedModel):
    """p(x, z) = p(x | z1) p(z1 | z2) ... p(zL) and q(z | x) = q(z1 | x) q(z2 | z1) ..., all but p(x | z1) Gaussian.

    The covariances are diagonal and p(zL) is standard. A subclass makes two lists of networks,

    - `encoders`: x -> z1, z1 -> z2, ..., each of which returns means and log standard deviations, side by side in the
      last dimension, for `gaussian` to read;
    - `decoders`: z1 -> the likelihood's parameters, z2 -> z1, ..., all but the first in the same form;

    and defines how pixels enter and leave: `encode`, from images to q(z1 | x), and `decode`, from z1 to the
    likelihood's parameters. Everything else follows: bounds, importance weights and samples.

    channels, size: C and (H, W) of an image. num_latents: dimension of z1, z2, ..., from the pixels up. num_samples: M
    of the bound that is trained and that `log_prob` estimates; 1 makes it the ELBO of a VAE. likelihood: Bernoulli()
    unless given. ValueError for numbers below 1.
    """

    encoders: nn.ModuleList
    decoders: nn.ModuleList

    def __init__(
        self,
        channels: int,
        size: Sequence[int],
        num_latents: Sequence[int],
        num_samples: int = 1,
        likelihood: Likelihood | None = None,
    ):
        super().__init__()
        self.channels, self.size = channels, check_shape(channels, size)
        if not hasattr(num_latents, "__len__"):
            raise ValueError(f"num_latents must be a sequence, one number for each stochastic layer, got {num_latents}")
        self.num_latents, self.num_samples = tuple(num_latents), num_samples
        check_counts(num_samples=num_samples, **{"the length of num_latents": len(self.num_latents)})
        check_counts(**{f"num_latents[{i}]": count for i, count in enumerate(self.num_latents)})
        self.likelihood = check_likelihood(Bernoulli() if likelihood is None else likelihood)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.channels, *self.size

    @property
    def kind(self) -> str:
        return bound_kind(self.likelihood)

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z1 | x), each float (B, D), for x uint8 (B, C, H, W)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """The likelihood's parameters, float (..., P, H, W), for z1, float (..., D)."""

    def log_weights(self, x: Tensor, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """log w = log p(x, z) - log q(z | x) for M draws of z, float32 (M, B), in nats.

        Their log-mean-exp over M is the bound L_M of equation (8), and tends to log p(x) as M grows. x: uint8 (B, C, H,
        W). num_samples: M. ValueError for images of another shape, or M below 1.
        """
        return sum(self.log_terms(x, num_samples, generator))

    def log_terms(self, x: Tensor, num_samples: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The two terms of log w, each float32 (M, B): log p(x | z), and log p(z) - log q(z | x)."""
        check_counts(num_samples=num_samples)
        check_images(x, self.channels, self.size)
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

    @torch.no_grad()
    def kl_per_layer(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The terms of KL(q(z | x) || p(z)), one for each layer from the top, float32 (L, B), in nats.

        That of the top layer is in closed form, given the latents below it. Those below are estimates from one draw,
        such as log q(z1 | x) - log p(z1 | z2), and can be negative for a single image. ValueError for images of another
        shape.
        """
        check_images(x, self.channels, self.size)
        q, divergences = Normal(*self.encode(x), validate_args=False), []
        for encoder, decoder in zip(self.encoders[1:], self.decoders[1:], strict=True):
            z = draw_from(q, generator)
            above = Normal(*gaussian(encoder(z)), validate_args=False)
            prior = Normal(*gaussian(decoder(draw_from(above, generator))), validate_args=False)
            divergences.append((q.log_prob(z) - prior.log_prob(z)).sum(-1))  # the z above was drawn for this one
            q = above
        standard = Normal(torch.zeros_like(q.mean), torch.ones_like(q.stddev), validate_args=False)
        divergences.append(kl_divergence(q, standard).sum(-1))
        return torch.stack(divergences[::-1])

    @torch.no_grad()
    def active_units(self, x: Tensor) -> int:
        """How many dimensions of z1 tell images apart: the mean of q(z1 | x) has a variance over the images above 0.01
        (Burda et al., section 5).
        """
        check_images(x, self.channels, self.size)
        return count_active(self.encode(x)[0])

    def decode_from_top(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The likelihood's parameters, float (..., P, H, W), for the top latent, float (..., D); the latents between
        are drawn.
        """
        for decoder in reversed(self.decoders[1:]):
            mean, std = gaussian(decoder(z))
            z = mean + std * torch.randn(mean.shape, generator=generator, device=z.device, dtype=mean.dtype)
        return self.decode(z)

    @torch.no_grad()
    def sample(
        self, num_samples: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Images drawn from the model, uint8 (num_samples, C, H, W), on its device.

        ValueError for a number below 1, for more than 16 GiB of images, and for a condition.
        """
        refuse_condition(self, condition)
        device = check_sampling(self, num_samples, self.shape)
        dtype = next(self.parameters()).dtype
        z = torch.randn((num_samples, self.num_latents[-1]), generator=generator, device=device, dtype=dtype)
        return self.likelihood(self.decode_from_top(z, generator)).sample(generator=generator)


def draw_from(distribution: Normal, generator: torch.Generator | None) -> Tensor:
    """z, through which gradients reach mean and standard deviation."""
    mean = distribution.mean
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + distribution.stddev * noise


def count_active(means: Tensor) -> int:
    """How many numbers of (B, ...) have a variance over the first dimension above 0.01."""
    return int((means.var(0) > 0.01).sum()) if means.numel() else 0


def bound_kind(likelihood: Likelihood) -> str:
    """What a bound of log p(x) is, by what the likelihood gives: "lower bound" for a mass, else "density" or
    "improper".
    """
    return "lower bound" if likelihood.kind == "mass" else likelihood.kind


def check_beta(beta: float) -> None:
    """ValueError unless beta, the weight of the KL divergence in the loss, is positive and finite."""
    if not 0 < beta < math.inf:
        raise ValueError(f"beta must be positive and finite, got {beta}")


def gaussian(output: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, in at least float32, from a network's output, which holds means and log standard
    deviations one after the other in dimension `dim`.
    """
    mean, log_std = at_least_float32(output).chunk(2, dim)
    return mean, log_std.exp()


def tanh_network(num_in: int, num_hidden: int, num_out: int) -> nn.Sequential:
    """Two tanh layers and a linear one, Glorot-initialised as in the paper: (..., num_in) -> (..., num_out)."""
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
