"""The data of one training as a run sees them."""

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pixellib import data
from pixellib.data.transforms import IntensityPermutation, binarise
from pixellib.series.permuted.text import BytePairs

if TYPE_CHECKING:
    from pixellib.models import ImageModel
    from pixellib.series.run import Run


class Splits:
    """The splits of a run's data set; each is read once and kept as long as this object is.

    Splits are "train", "validation" and "test". profile: may have a data set of its own. seed: of the run's symbols.
    """

    def __init__(self, run: "Run", profile: str = "reference", seed: int = 0):
        self.run, self.profile, self.seed = run, profile, seed
        self.dataset = run.plan(profile).dataset or run.dataset
        self._read: dict[str, tuple[Tensor, Tensor]] = {}
        self._levels: dict[str, Tensor] = {}
        self._images: dict[str, Tensor] = {}

    def images(self, split: str) -> Tensor:
        """The images as the run sees them, uint8 (N, C, H, W): binarised ones as drawn once, except for training,
        where they are drawn anew for each batch; as the symbols of the seed, if the run has some.
        """
        if split not in self._images:
            x = self.levels(split)
            if self.run.binarised and split != "train":
                x = _binarise_once(x)
            if self.run.symbols:
                x = self.run.symbols.of(x, self.seed, self._order)
            self._images[split] = x
        return self._images[split]

    def held(self, split: str, num_images: int | None = None) -> Tensor:
        """The first images of a split, for an evaluation: like `images`, but training images are binarised once too."""
        x = self.images(split)[:num_images]
        return _binarise_once(x) if self.run.binarised and split == "train" else x

    def labels(self, split: str) -> Tensor | None:
        """The condition of each image, int64 (N,), where the run's model is conditioned on the class."""
        return self._load(split)[1] if self.run.options_of(self.profile).get("num_classes") else None

    def levels(self, split: str) -> Tensor:
        """The images before binarisation and before they became symbols, uint8 (N, C, H, W); codes instead, if the run
        is of the codes of a VQ-VAE; pieces of 128 tokens, int64 (N, 1, 1, 128), if it is of tokens of a text.
        """
        if self._pairs is not None:
            tokens = torch.tensor(self._pairs.tokens(self._text(split)))
            return tokens[: len(tokens) // 128 * 128].view(-1, 1, 1, 128)
        encoder = self._encoder
        if encoder is None:
            return self._load(split)[0]
        if split not in self._levels:
            x = Splits(self.run.symbols.codes, self.profile).images(split)
            with torch.inference_mode():
                self._levels[split] = torch.cat([encoder.encode(part) for part in x.split(500)])
        return self._levels[split]

    def _load(self, split: str) -> tuple[Tensor, Tensor]:
        if split not in self._read:
            self._read[split] = data.load(self.dataset, split)
        return self._read[split]

    @cached_property
    def _encoder(self) -> "ImageModel | None":
        codes = self.run.symbols.codes if self.run.symbols else None
        return codes.trained(self.profile).to("cpu") if codes else None

    def _text(self, split: str) -> bytes:
        return self._load(split)[0].numpy().tobytes()

    @cached_property
    def _pairs(self) -> "BytePairs | None":
        if not self.run.symbols or not self.run.symbols.tokens:
            return None
        return BytePairs.learn(self._text("train"), self.run.symbols.tokens)

    @cached_property
    def _order(self) -> IntensityPermutation | None:
        symbols = self.run.symbols
        if symbols.order is None:
            return None
        softmax = symbols.softmax and symbols.softmax.trained(self.profile, self.seed)
        return symbols.find_order(self.levels("train"), self.seed, softmax)


def _binarise_once(x: Tensor) -> Tensor:
    return binarise(x, torch.Generator().manual_seed(0))
