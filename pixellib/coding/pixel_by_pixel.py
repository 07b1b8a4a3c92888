"""Coding with an autoregressive model: each sub-pixel with its probability given those before it, by a range coder."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from pixellib.coding.entropy import categorical, constriction, decoding_errors, index_of, probabilities
from pixellib.models.base import ImageModel

# what a place's sub-pixels have, as indices into the likelihood's levels, given their probabilities (B, L)
Code = Callable[[np.ndarray, Distribution, tuple[int, int, int]], np.ndarray]


def encode(model: ImageModel, x: Tensor, condition: Tensor | None, precision: str) -> np.ndarray:
    """The code words, uint32, of images uint8 (B, C, H, W)."""
    encoder = constriction().stream.queue.RangeEncoder()

    def code(p: np.ndarray, pixels: Distribution, place: tuple[int, int, int]) -> np.ndarray:
        index = index_of(x[(slice(None), *place)], pixels)
        encoder.encode(index, categorical(), p)
        return index

    _pass(model, torch.zeros_like(x), condition, precision, code)
    return encoder.get_compressed()


def decode(model: ImageModel, words: np.ndarray, x: Tensor, condition: Tensor | None, precision: str) -> None:
    """Set the images x, uint8 (B, C, H, W), to what the code words stand for."""
    decoder = constriction().stream.queue.RangeDecoder(words)

    def code(p: np.ndarray, pixels: Distribution, place: tuple[int, int, int]) -> np.ndarray:
        with decoding_errors():
            return decoder.decode(categorical(), p)

    _pass(model, x, condition, precision, code)


def _pass(model: ImageModel, x: Tensor, condition: Tensor | None, precision: str, code: Code) -> None:
    """Set the pixels of x in raster order. Both sides run this, so that both compute the same probabilities."""
    order = range(x.shape[1])

    def choose(pixels: Distribution, row: int, column: int, channels: slice) -> Tensor:
        values = torch.tensor(pixels.values, dtype=torch.uint8, device=x.device)
        chosen = torch.zeros(len(x), len(order[channels]), 1, 1, dtype=torch.uint8, device=x.device)
        for i, channel in enumerate(order[channels]):
            p = probabilities(pixels.conditional_log_pmf(chosen)[:, :, i, 0, 0])
            index = code(p, pixels, (channel, row, column))
            chosen[:, i, 0, 0] = values[torch.from_numpy(index).to(x.device).long()]
        return chosen

    model.fill(x, choose, condition=condition, precision=precision)
