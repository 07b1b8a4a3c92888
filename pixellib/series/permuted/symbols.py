"""Symbols whose neighbours may mean anything, in place of levels: what notebook 10 makes of images and of text."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from pixellib.data.transforms import IntensityPermutation, grey
from pixellib.likelihoods import Likelihood, LogisticMixture, Permuted
from pixellib.models import AutoregressiveModel, ImageModel
from pixellib.series.permuted import best_mixture
from pixellib.series.permuted.order import (
    by_frequency,
    order_by_neighbours,
    order_by_predictions,
    spread_out,
    used_first,
)

if TYPE_CHECKING:
    from pixellib.series.run import Run
    from pixellib.series.splits import Splits


@dataclass(frozen=True)
class Symbols:
    """What becomes of levels, or of codes; photographs are made grey, unless it is said that they have colours.

    permuted: what a permutation, drawn from a training's seed, is applied to, the targets alone or the inputs as well;
    window: see IntensityPermutation. order: what is then done to the symbols, as training images suggest it: those that
    occur come first (`used_first`), the frequent ones come first (`by_frequency`), or all are ordered by how often
    they are neighbours (`order_by_neighbours`) or by how often a softmax is undecided between them
    (`order_by_predictions`). softmax: the run of that softmax. spread: symbols that occur then stand at equal distances
    over the whole range, in that order, instead of side by side at its beginning. codes: the run of a VQ-VAE, trained
    with seed 0, whose codes take the place of levels. tokens: how many byte-pair tokens, learned from the training
    split, take the place of the bytes of a text; None for bytes. permutation_seed: from which the permutation is drawn,
    in place of the training's seed, to tell what either decides. colours: images keep their three channels, and one
    permutation serves all of them. best_mixture: for a head alone, whose record then says what the best mixture of its
    size loses.

    >>> from pixellib.likelihoods import LogisticMixture
    >>> Symbols(permuted="targets").likelihood(LogisticMixture(3), seed=1).permutation
    IntensityPermutation(256, 1, 256)
    """

    permuted: Literal["targets", "inputs and targets"] | None = None
    window: int | None = None
    order: Literal["used first", "frequency", "neighbours", "predictions"] | None = None
    spread: bool = False
    codes: "Run | None" = None
    softmax: "Run | None" = None
    tokens: int | None = None
    permutation_seed: int | None = None
    colours: bool = False
    best_mixture: bool = False

    @property
    def num_symbols(self) -> int:
        return self.tokens or 256

    def permutation(self, seed: int) -> IntensityPermutation:
        chosen = seed if self.permutation_seed is None else self.permutation_seed
        return IntensityPermutation(self.num_symbols, chosen, self.window)

    def of(self, x: Tensor, seed: int, order: IntensityPermutation | None = None) -> Tensor:
        """The symbols that a training with that seed sees, (N, 1, H, W) or with `colours` (N, 3, H, W), for levels,
        codes or tokens of the same shape, or colours. order: as found by `find_order`.
        """
        symbols = self.levels(x)
        if self.permuted == "inputs and targets":
            symbols = self.permutation(seed)(symbols)
        return order(symbols) if order else symbols

    def find_order(
        self, training_images: Tensor, seed: int, softmax: AutoregressiveModel | None = None
    ) -> IntensityPermutation:
        """The order of symbols that training images, levels or codes (N, C, H, W), suggest, or what a trained softmax
        predicts for 200 of them. KeyError if `order` is None.
        """
        symbols = self.of(training_images, seed)
        if self.order == "predictions":
            order = order_by_predictions(softmax, symbols[:200], self.num_symbols)
        else:
            find = {"used first": used_first, "frequency": by_frequency, "neighbours": order_by_neighbours}[self.order]
            order = find(symbols, self.num_symbols)
        return spread_out(order, symbols) if self.spread else order

    def likelihood(self, base: Likelihood, seed: int) -> Likelihood:
        """The base, of permuted targets where the inputs are not permuted."""
        return Permuted(base, self.permutation(seed)) if self.permuted == "targets" else base

    def identity(self) -> dict:
        """What distinguishes these symbols, for the identity of a training, which itself says which codes and softmax
        are meant.
        """
        more = {"tokens": self.tokens, "permutation_seed": self.permutation_seed, "colours": self.colours or None}
        more |= {"spread": self.spread or None}
        more = {key: value for key, value in more.items() if value is not None}  # which older records do not name
        return {"permuted": self.permuted, "window": self.window, "order": self.order} | more

    def more_results(self, run: "Run", model: ImageModel, splits: "Splits") -> dict:
        """What a record says of test images besides their likelihood. bits_of: see `bits_by_level`. best_mixture: see
        `_best_mixture`.
        """
        images, found = splits.images("test")[:1000], {}
        if not self.codes:
            found["bits_of"] = self.bits_by_level(model, images, splits.levels("test")[:1000])
        if self.best_mixture:
            softmax = run.plan(splits.profile).trunk.trained(splits.profile, splits.seed)
            some = images[100 * splits.seed % len(images) :][:100]
            predicted = best_mixture.predictions(softmax, some, splits.seed)
            found["best_mixture"] = _best_mixture(predicted, run.options_of(splits.profile)["likelihood"])
        return found

    @torch.inference_mode()
    def bits_by_level(self, model: ImageModel, images: Tensor, levels: Tensor) -> dict[str, float]:
        """Mean bits of the pixels whose level, before it became a symbol, is 0 ("black"), 255 ("white"), or between.

        images: as the model sees them, uint8 (N, 1, H, W). levels: the same ones as stored, uint8 (N, C, H, W). A kind
        of pixel that does not occur is left out, and so are all with colours.
        """
        if self.colours:
            return {}
        device = next(model.parameters()).device
        parts = images.to(device).split(50)
        nats = [-model(x).log_prob_per_pixel(x) for x in parts]
        bits = torch.cat(nats).cpu() / math.log(2)
        level = self.levels(levels)[:, 0]
        kinds = {"black": level == 0, "between": (level > 0) & (level < 255), "white": level == 255}
        return {name: round(bits[pixels].mean().item(), 5) for name, pixels in kinds.items() if pixels.any()}

    def levels(self, x: Tensor) -> Tensor:
        """Levels of one channel, (N, 1, H, W), for those of one, or for colours (N, 3, H, W), unless they stay."""
        return grey(x) if x.shape[1] == 3 and not self.colours else x


def _best_mixture(pmf: Tensor, head: LogisticMixture) -> dict[str, float]:
    """What is lost, in bits, on a softmax's predictions for a pixel of each of 100 images. bits, standard_error: by the
    best mixture of as many components; limited: by the best one whose scales keep the head's upper limit; bins: by a
    histogram of as many bins.
    """
    free = LogisticMixture(head.num_components, head.tails, head.num_levels, min_log_scale=head.min_log_scale)
    lost = best_mixture.divergence(pmf, free)
    limited = best_mixture.divergence(pmf, replace(free, max_log_scale=head.max_log_scale)).mean().item()
    bins = best_mixture.divergence_of_bins(pmf, head.num_components).mean().item()
    found = {"bits": lost.mean().item(), "standard_error": lost.std().item() / math.sqrt(len(lost))}
    return {name: round(bits, 5) for name, bits in (found | {"limited": limited, "bins": bins}).items()}
