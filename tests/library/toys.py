"""Small models and images for tests: a base for those that only train or score, and what layered VAEs are tried on."""

import math

import torch

from pixellib.models import ImageModel


class Toy(ImageModel):
    """An image model that defines what has to be defined."""

    kind = "exact"

    def log_prob(self, x, condition=None):
        raise NotImplementedError

    def sample(self, num_samples, *, condition=None, generator=None):
        raise NotImplementedError


def binary_images(number, seed=1):
    """Noise of 4 x 4 pixels, black or white."""
    return 255 * torch.randint(2, (number, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def moved(model):
    """The model with every weight moved away from where it begins, so that no output layer is zero."""
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@torch.no_grad()
def likelihood_by_q(model, x, num_draws, generator):
    """log of the mean importance weight of each image, (B,): log p(x), but for noise."""
    log_w = model.log_weights(x.repeat(num_draws // 2, 1, 1, 1), 2, generator)
    return log_w.reshape(num_draws, len(x)).logsumexp(0) - math.log(num_draws)


def unused_weights(model, x):
    """The names of weights to which the loss gives no gradient."""
    model.loss(x).backward()
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
