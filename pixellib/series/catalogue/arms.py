"""What a run of notebook 10 consists of: what its symbols are, which head reads the network's output, and an arm, that
is, what is done with symbols and network.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from pixellib.likelihoods import Categorical, Likelihood, LogisticMixture
from pixellib.models import GatedPixelCNN, ImageModel, PixelCNNpp
from pixellib.series.catalogue import vqvae
from pixellib.series.catalogue.common import COMPARED, EMBEDDED, FAST, paper, quick
from pixellib.series.permuted.heads import BinaryTree, GridMixture, SymbolMixture
from pixellib.series.permuted.symbols import Symbols
from pixellib.series.permuted.text import CausalRow
from pixellib.series.run import Plan, Run
from pixellib.training import Settings

# Learning rates in place of FAST, of which they are multiples. See notebooks/10_plan.md for how they were chosen.
HALF = {"learning_rate": 4e-3, "muon_lr": 0.01}
TWICE = {"learning_rate": 1.6e-2, "muon_lr": 0.04}
FOUR_TIMES = {"learning_rate": 3.2e-2, "muon_lr": 0.08}
EIGHT_TIMES = {"learning_rate": 6.4e-2, "muon_lr": 0.16}
RATES = {"usual": FAST, "half": HALF, "twice": TWICE, "four-times": FOUR_TIMES, "eight-times": EIGHT_TIMES}
MEAN_RATE = 0.1


@dataclass(frozen=True)
class Source:
    """What the symbols are of: a data set, and a network and settings that suit it. symbols: in place of those of an
    arm. rates: the learning rates that were chosen for a head on validation images; for other heads `TWICE`.
    """

    dataset: str
    size: Sequence[int]
    family: type[ImageModel] = PixelCNNpp
    network: Mapping = field(default_factory=lambda: {"num_filters": 16, "num_resnets": 1, "dropout": 0.0})
    embedding: int = 16
    channels: int = 1
    num_levels: int = 256
    batch_size: int = 16
    steps: int = 1_000
    symbols: Mapping = field(default_factory=dict)
    rates: Mapping = field(default_factory=lambda: {"mixture": FOUR_TIMES})


_USUAL = {"softmax": FAST, "mixture": FAST}


def _codes(of: Run, dataset: str, size: Sequence[int]) -> Source:
    network = {"num_layers": 4, "num_filters": 32, "kernel_size": 3}
    return Source(dataset, size, GatedPixelCNN, network, batch_size=64, symbols={"codes": of}, rates=_USUAL)


_ROW = {"family": CausalRow, "network": {"num_layers": 12, "num_filters": 64}, "embedding": 32}
_ROW |= {"batch_size": 32}
SOURCES = {
    "mnist": Source("mnist", [28, 28]),
    "grey": Source("cifar10", [32, 32]),
    "colour": Source(  # three ordered channels must divide the filters
        "cifar10", [32, 32], channels=3, network={"num_filters": 18, "num_resnets": 1, "dropout": 0.0},
        symbols={"colours": True},
    ),
    "codes-mnist": _codes(vqvae.MNIST, "mnist", [7, 7]),
    "codes-cifar10": _codes(vqvae.CIFAR10, "cifar10", [8, 8]),
    "text": Source("austen", [1, 256], **_ROW, rates=_USUAL),
    "tokens": Source(
        "austen", [1, 128], **_ROW, num_levels=4096, symbols={"tokens": 4096}, rates=_USUAL | {"softmax": FOUR_TIMES}
    ),
}  # fmt: skip


def truncated(num_components: int = 10, min_log_scale: float = -9.0) -> LogisticMixture:
    """Made for symbols: a component can be as narrow as one of them."""
    return LogisticMixture(num_components, tails="truncated", min_log_scale=min_log_scale)


def mixture(num_components: int = 10) -> SymbolMixture:
    """The same with means that move a tenth as far, and a limit: the scale of no component is above half its share of
    the range, so that they stay apart. With as many components as symbols each begins on one.
    """
    limits = {"min_log_scale": -9.0, "max_log_scale": round(math.log(1 / num_components), 2)}
    on_symbols = num_components == 256
    return SymbolMixture(num_components, "truncated", **limits, mean_rate=MEAN_RATE, on_symbols=on_symbols)


HEADS = {
    "softmax": Categorical(),
    "truncated": truncated(),
    "mixture": mixture(),
    "tree": BinaryTree(),
    "grid2": GridMixture(10, (16, 16)),
    "grid3": GridMixture(10, (8, 8, 4)),
}


# Whose weights notebook 10 looks at: the last one is stuck at 8 bits.
SHIPPED = set(product(("grey", "mnist"), ("softmax", "mixture"), ("ordered", "scrambled")))
SHIPPED |= {("grey", "truncated", "both-k85-twice-rate")}


@dataclass(frozen=True)
class Arm:
    """What is done in an arm of the comparison. title: `name` if empty. options, settings: in place of the usual ones
    of the model and of every profile. chosen_rates: with the rates that were chosen for its head, and not the usual
    ones. trial: it only served to choose settings and leaves the test set alone. trunk, start: see Plan.
    """

    name: str
    symbols: Symbols
    title: str = ""
    options: Mapping = field(default_factory=dict)
    settings: Mapping = field(default_factory=dict)
    chosen_rates: bool = False
    trial: bool = False
    trunk: Run | None = None
    start: Run | None = None

    def but(self, suffix: str, title: str, **changes) -> "Arm":
        """The arm NAME-SUFFIX: this one but for the changes."""
        return replace(self, name=f"{self.name}-{suffix}", title=f"{self.title or self.name}, {title}", **changes)


def run_of(images: str, head: str, arm: Arm, seeds: int = 1) -> Run:
    """The run of an arm, for the symbols of a source, with a head."""
    source = SOURCES[images]
    begin = {"embedding": source.embedding, "init_output": head != "softmax"}  # a softmax has nothing to lay out
    options = {"likelihood": HEADS[head], **begin, **source.network, **arm.options}
    if source.num_levels != options["likelihood"].num_levels:
        options["likelihood"] = _for_levels(options["likelihood"], source.num_levels)
    steps = arm.settings.get("steps", source.steps)
    usual = {"batch_size": source.batch_size, **FAST, "warmup_steps": 50, "schedule": "cosine", "max_grad_norm": 1.0}
    usual |= {"ema_decay": 0.998, "precision": "fp32", "validate_every": steps // 10}
    chosen = source.rates.get(head, TWICE) if arm.chosen_rates else {}
    settings = Settings(**{"steps": steps, **usual, **chosen, **arm.settings})
    return Run(
        name=f"permuted-{images}-{head}-{arm.name}",
        title=f"{head}, {arm.title or arm.name}",
        dataset=source.dataset,
        family=source.family,
        options={"channels": source.channels, "size": source.size, **options},
        plans={
            "quick": Plan(quick(settings), dataset=EMBEDDED[source.dataset], num_test=40, num_validation=40),
            "reference": Plan(settings, trunk=arm.trunk, start=arm.start, **COMPARED),
            "paper": Plan(paper(settings, steps=50_000), trunk=arm.trunk, start=arm.start),
        },
        symbols=replace(arm.symbols, **source.symbols),
        seeds=seeds,
        evaluate_on=("validation",) if arm.trial else ("train", "validation", "test"),
        ships=(images, head, arm.name) in SHIPPED,
        factors={"images": images, "head": head, "arm": arm.name},
    )  # fmt: skip


def _for_levels(likelihood: Likelihood, num_levels: int) -> Likelihood:
    """The same for more levels; a component can still be as narrow as one of them."""
    if isinstance(likelihood, LogisticMixture):
        narrowest = likelihood.min_log_scale - math.log(num_levels / likelihood.num_levels)
        return replace(likelihood, num_levels=num_levels, min_log_scale=round(narrowest, 1))
    return replace(likelihood, num_levels=num_levels)
