"""What every image model offers, so that training and evaluation need no special case."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from pixellib.models.checks import refuse_condition


class ImageModel(nn.Module, ABC):
    """A model p(x) of images x, uint8 (B, C, H, W), or p(x | condition).

    A subclass says in `kind` what `log_prob` is, and defines `log_prob` and `sample`. Where the likelihood is known by
    a bound, see `WeightedModel`.

    kind: "exact" if `log_prob` is the log-likelihood, "lower bound" if it is a bound of it, "density" if it is the
    logarithm of a density, and "improper" if it is a score of another sort.
    """

    kind: Literal["exact", "lower bound", "density", "improper"]
    record: Mapping | None = None  # of the training that its weights come from; set by who loads them

    @abstractmethod
    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """log p(x | condition), or a bound of it: float (B,), in nats, for x uint8 (B, C, H, W)."""

    @abstractmethod
    def sample(
        self, num_samples: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Images drawn from the model, uint8 (num_samples, C, H, W), on its device."""

    def loss(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What training minimises, a scalar in nats per image: -log_prob(x, condition).mean() unless overridden."""
        return -self.log_prob(x, condition).mean()

    def initialise(self, images: Tensor) -> None:
        """Data-dependent initialisation from the training images, uint8 (N, C, H, W): called once before the first
        step. Does nothing unless overridden.
        """

    def kernels(self) -> list[nn.Parameter]:
        """The weights of convolutions between features, four-dimensional, which Muon may move.

        The gains of weight normalisation have four dimensions too, but only one longer than 1: they are left out.
        """
        return [p for p in self.parameters() if p.dim() == 4 and min(p.flatten(1).shape) > 1]


class WeightedModel(ImageModel):
    """A model whose likelihood is the mean of importance weights: of draws of a latent, or of dequantisation noise.

    num_samples: M of the bound that `log_prob` gives, and that is trained unless `loss` is overridden.
    """

    num_samples: int

    @abstractmethod
    def log_weights(self, x: Tensor, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """The log importance weights of M = num_samples draws for each image, float32 (M, B), in nats.

        Their log-mean-exp over M is the bound L_M of log p(x), and tends to it as M grows. x: uint8 (B, C, H, W).
        ValueError for images of another shape, or M below 1.
        """

    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The bound L_M with M = self.num_samples, float (B,), in nats, by one draw of M weights for each image."""
        refuse_condition(self, condition)
        return self.log_weights(x, self.num_samples).logsumexp(0) - math.log(self.num_samples)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; afterwards, come what may, each of its modules in the mode it was in.

    >>> from pixellib.models import IWAE
    >>> model = IWAE()
    >>> with eval_mode(model):
    ...     print(model.training)
    False
    >>> model.training
    True
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
