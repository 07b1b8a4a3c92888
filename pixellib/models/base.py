"""What every image model offers, so that training and evaluation need no special case."""

from typing import Literal

import torch
from torch import Tensor, nn


class ImageModel(nn.Module):
    """A model of images x, uint8 (B, C, H, W).

    `kind` says what `log_prob` is: the "exact" log-likelihood, a "lower bound" of it, a "density", or
    "improper", a score that is neither.
    Latent and dequantised models also have `log_weights(x, num_samples, generator) -> (M, B)`.
    """

    kind: Literal["exact", "lower bound", "density", "improper"]

    def log_prob(self, x: Tensor, condition=None) -> Tensor:
        """log p(x) or a bound of it in nats: float (B,)."""
        raise TypeError(f"{type(self).__name__} defines no log_prob")

    def loss(self, x: Tensor, condition=None) -> Tensor:
        """The scalar that training minimises, in nats per image."""
        return -self.log_prob(x, condition).mean()

    def sample(self, num_samples: int, *, condition=None, generator: torch.Generator | None = None) -> Tensor:
        """uint8 (num_samples, C, H, W)."""
        raise TypeError(f"{type(self).__name__} defines no sample")

    def initialise(self, images: Tensor) -> None:
        """Data-dependent initialisation from the training images, uint8 (N, C, H, W); called once before the first
        step.
        """

    def kernels(self) -> list[nn.Parameter]:
        """The weights of convolutions between features, float (C_out, C_in, kH, kW), which Muon may move."""
        return [p for p in self.parameters() if p.dim() == 4 and min(p.flatten(1).shape) > 1]  # a gain is no matrix
