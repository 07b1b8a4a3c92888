"""Latents in one or more Gaussian layers, trained with the KL divergences in closed form.

Free bits: Kingma et al., "Improved variational inference with inverse autoregressive flow", NIPS 2016, appendix C.8.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from pixellib.likelihoods import Bernoulli, Likelihood
from pixellib.models.base import WeightedModel
from pixellib.models.checks import check_counts, check_likelihood, refuse_condition
from pixellib.models.latent.base import bound_kind, check_beta, gaussian


@dataclass
class Draw:
    """The latents z of one layer, float (B, ...), their prior p, and q, from which they were drawn if there was an
    image.
    """

    z: Tensor
    p: Normal
    q: Normal | None

    @property
    def log_ratio(self) -> Tensor:
        """log p(z) - log q(z), float32 (B,), in nats."""
        return (self.p.log_prob(self.z) - self.q.log_prob(self.z)).flatten(1).sum(1)

    @property
    def kl(self) -> Tensor:
        """KL(q || p), float32 (B,), in nats."""
        return kl_divergence(self.q, self.p).flatten(1).sum(1)


class LayeredVAE(WeightedModel):
    """A subclass defines `draws_from_q`; bounds, the loss and the KL divergence of each layer follow.

    num_samples: M of the bound. beta, free_bits: the loss has beta max(KL, free_bits) for each layer, where KL is the
    mean over a batch in nats; `log_prob` and `log_weights` never use them. likelihood: Bernoulli() unless given.

    ValueError for num_samples below 1, for beta that is not positive and finite, for free_bits that are not finite or
    below zero, and for beta or free_bits together with several samples, whose loss is -L_M.
    """

    def __init__(self, num_samples: int, beta: float, free_bits: float, likelihood: Likelihood | None):
        super().__init__()
        check_counts(num_samples=num_samples)
        check_beta(beta)
        if not 0 <= free_bits < math.inf:
            raise ValueError(f"free_bits must be finite and not below zero, got {free_bits}")
        if num_samples > 1 and (beta != 1 or free_bits):
            raise ValueError(f"beta and free_bits are for num_samples=1, got {beta} and {free_bits} for {num_samples}")
        self.num_samples, self.beta, self.free_bits = num_samples, beta, free_bits
        self.likelihood = check_likelihood(Bernoulli() if likelihood is None else likelihood)

    @property
    def kind(self) -> str:
        return bound_kind(self.likelihood)

    @abstractmethod
    def draws_from_q(
        self, x: Tensor, num_samples: int, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, list[Draw]]]:
        """log p(x | z), float32 (B,), and the draw of each layer from the top, for each of M = num_samples draws of all
        z from q: one after another, so that memory does not grow with M. ValueError for images of another shape.
        """

    def log_weights(self, x: Tensor, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        check_counts(num_samples=num_samples)
        return torch.stack([
            log_likelihood + sum(draw.log_ratio for draw in draws)
            for log_likelihood, draws in self.draws_from_q(x, num_samples, generator)
        ])  # fmt: skip

    def loss(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """With one sample, minus the ELBO with the KL divergences in closed form, weighted by beta and not below
        free_bits; with more, -L_M. A scalar in nats per image.
        """
        if self.num_samples > 1:
            return super().loss(x, condition)
        refuse_condition(self, condition)
        log_likelihood, draws = next(self.draws_from_q(x, 1))
        kl = torch.stack([draw.kl.mean() for draw in draws])
        return self.beta * kl.clamp(min=self.free_bits).sum() - log_likelihood.mean()

    @torch.no_grad()
    def kl_per_layer(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """KL(q || p) of each layer from the top, float32 (L, B), in nats, given one draw of the layers above it."""
        _, draws = next(self.draws_from_q(x, 1, generator))
        return torch.stack([draw.kl for draw in draws])


def normal(output: Tensor) -> Normal:
    """The Gaussian of which a network gave means and log standard deviations, side by side in dimension 1."""
    return Normal(*gaussian(output, 1), validate_args=False)
