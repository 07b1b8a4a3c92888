"""Bits-back coding with a latent model: the receiver recovers the bits that selected a latent.

Townsend, Bird and Barber, "Practical lossless compression with latent variables using bits back coding", ICLR 2019. The
sender has a stack of bits. It decodes z from the stack with q(z | x), then encodes x with p(x | z) and z with p(z). So
the stack grows by -log p(x | z) - log p(z) + log q(z | x), on average the negative evidence lower bound. The receiver
undoes these steps in reverse order. The first images take their z from random bits. Latents are rounded to multiples of
1 / STEPS.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from tqdm.auto import tqdm

from pixellib import devices
from pixellib.coding.entropy import categorical, constriction, decoding_errors, index_of, probabilities
from pixellib.models.base import ImageModel

STEPS, FURTHEST = 64, 8  # latents lie between -FURTHEST and FURTHEST


def encode(model: ImageModel, batches: Sequence[Tensor], precision: str, progress: bool = False) -> np.ndarray:
    """The code words, uint32, of all batches of images uint8 (B, C, H, W). The model is in evaluation mode."""
    stack = _stack(_random_bits(model, batches[0], precision))
    for x in tqdm(batches, "compress", unit="batch", disable=not progress):
        z = _pop_latent(stack, *_posterior(model, x, precision))
        pixels = _pixels(model, z, x, precision)
        log_p = pixels.conditional_log_pmf(x)
        for channel in reversed(range(x.shape[1])):
            stack.encode_reverse(index_of(x[:, channel], pixels), categorical(), _rows(log_p[:, :, channel]))
        stack.encode_reverse(z, _latents(), *_prior(len(z)))
    return stack.get_compressed()


def decode(
    model: ImageModel, words: np.ndarray, batches: Sequence[Tensor], precision: str, progress: bool = False
) -> None:  # fmt: skip
    """Set the images of all batches to what the code words stand for."""
    stack = constriction().stream.stack.AnsCoder(words)
    for x in tqdm(batches[::-1], "decompress", unit="batch", disable=not progress):
        with decoding_errors():
            z = stack.decode(_latents(), *_prior(len(x) * model.num_latents[0]))
        pixels = _pixels(model, z, x, precision)
        values = torch.tensor(pixels.values, dtype=torch.uint8, device=x.device)
        for channel in range(x.shape[1]):
            p = pixels.conditional_log_pmf(x)[:, :, channel]
            with decoding_errors():
                index = torch.from_numpy(stack.decode(categorical(), _rows(p)))
            x[:, channel] = values[index.to(x.device).long()].view_as(x[:, channel])
        stack.encode_reverse(z, _latents(), *_posterior(model, x, precision))


def _rows(log_p: Tensor) -> np.ndarray:
    """A row of probabilities for each pixel, in raster order, of log-probabilities (B, L, H, W)."""
    return probabilities(log_p.movedim(1, -1).flatten(0, -2))


def _latents() -> object:
    """The family of Gaussians on the integers, which are multiples of 1 / STEPS."""
    return constriction().stream.model.QuantizedGaussian(-FURTHEST * STEPS, FURTHEST * STEPS)


def _prior(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of p(z) for so many latents, in multiples of 1 / STEPS."""
    return np.zeros(number), np.full(number, float(STEPS))


@torch.inference_mode()
def _posterior(model: ImageModel, x: Tensor, precision: str) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of q(z | x), float64 (B D,), in multiples of 1 / STEPS."""
    with devices.autocast(x.device, precision):
        mean, std = model.encode(x)
    mean, std = (t.cpu().double().numpy().ravel() * STEPS for t in (mean, std))
    return mean.clip(-FURTHEST * STEPS, FURTHEST * STEPS), std


@torch.inference_mode()
def _pixels(model: ImageModel, z: np.ndarray, x: Tensor, precision: str) -> Distribution:
    """p(x | z) for latents in multiples of 1 / STEPS."""
    z = torch.from_numpy(z).to(x.device).view(len(x), -1) / STEPS
    with devices.autocast(x.device, precision):
        params = model.decode(z.to(next(model.parameters()).dtype))
    return model.likelihood(params)


def _stack(words: np.ndarray) -> object:
    return constriction().stream.stack.AnsCoder(words, seal=True)


def _pop_latent(stack: object, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return stack.decode(_latents(), mean, std)


def _random_bits(model: ImageModel, x: Tensor, precision: str) -> np.ndarray:
    """As many random words as the latents of these images take from the stack, always the same ones, and two more."""
    mean, std = _posterior(model, x, precision)
    words = np.random.default_rng(0).integers(2**32, size=len(mean) + 2, dtype=np.uint32)
    stack = _stack(words)
    before = stack.num_words()
    _pop_latent(stack, mean, std)
    return words[-(before - stack.num_words() + 2) :]
