"""Notebook 10: softmax and mixture on images, or codes, whose symbols mean nothing, compared with each other.

A run is what the images are, which head reads the network's output, and an arm: what is done with symbols and network.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pixellib.likelihoods import Categorical, Likelihood, LogisticMixture
from pixellib.models import GatedPixelCNN, ImageModel, PixelCNNpp
from pixellib.series.catalogue import vqvae
from pixellib.series.catalogue.common import COMPARED, EMBEDDED, FAST, paper, quick
from pixellib.series.permuted.heads import BinaryTree, GridMixture, SymbolMixture
from pixellib.series.permuted.symbols import Symbols
from pixellib.series.permuted.text import CausalRow
from pixellib.series.run import Plan, Run
from pixellib.training import Settings


@dataclass(frozen=True)
class _Source:
    """What the symbols are of: a data set, and a network and settings that suit it. symbols: in place of those of an
    arm.
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


def _codes(of: Run, dataset: str, size: Sequence[int]) -> _Source:
    network = {"num_layers": 4, "num_filters": 32, "kernel_size": 3}
    return _Source(dataset, size, GatedPixelCNN, network, batch_size=64, symbols={"codes": of})


_ROW = {"family": CausalRow, "network": {"num_layers": 12, "num_filters": 64}, "embedding": 32}
_ROW |= {"batch_size": 32, "steps": 2_000}
_SOURCES = {
    "mnist": _Source("mnist", [28, 28]),
    "grey": _Source("cifar10", [32, 32]),
    "colour": _Source(  # three ordered channels must divide the filters
        "cifar10", [32, 32], channels=3, network={"num_filters": 18, "num_resnets": 1, "dropout": 0.0},
        symbols={"colours": True},
    ),
    "codes-mnist": _codes(vqvae.MNIST, "mnist", [7, 7]),
    "codes-cifar10": _codes(vqvae.CIFAR10, "cifar10", [8, 8]),
    "text": _Source("austen", [1, 256], **_ROW),
    "tokens": _Source("austen", [1, 128], **_ROW, num_levels=4096, symbols={"tokens": 4096}),
}  # fmt: skip


def _truncated(num_components: int = 10, min_log_scale: float = -9.0) -> LogisticMixture:
    """Made for symbols: a component can be as narrow as one of them."""
    return LogisticMixture(num_components, tails="truncated", min_log_scale=min_log_scale)


_HEADS = {"softmax": Categorical(), "censored": LogisticMixture(), "truncated": _truncated()}


@dataclass(frozen=True)
class _Arm:
    """What is done in an arm of the comparison. title: `name` if empty. options, settings: in place of the usual ones
    of the model and of every profile. trial: it only served to choose settings and leaves the test set alone. trunk,
    start: see Plan.
    """

    name: str
    symbols: Symbols
    title: str = ""
    options: Mapping = field(default_factory=dict)
    settings: Mapping = field(default_factory=dict)
    trial: bool = False
    trunk: Run | None = None
    start: Run | None = None

    def but(self, suffix: str, title: str, **changes) -> "_Arm":
        """The arm NAME-SUFFIX: this one but for the changes."""
        return replace(self, name=f"{self.name}-{suffix}", title=f"{self.name}, {title}", **changes)


def _run(images: str, head: str, arm: _Arm, seeds: int = 1) -> Run:
    source = _SOURCES[images]
    begin = {"embedding": source.embedding, "init_output": head != "softmax"}  # a softmax has nothing to lay out
    options = {"likelihood": _HEADS[head], **begin, **source.network, **arm.options}
    if source.num_levels != options["likelihood"].num_levels:
        options["likelihood"] = _for_levels(options["likelihood"], source.num_levels)
    steps = arm.settings.get("steps", source.steps)
    usual = {"batch_size": source.batch_size, **FAST, "warmup_steps": 50, "schedule": "cosine", "max_grad_norm": 1.0}
    usual |= {"ema_decay": 0.998, "precision": "fp32", "validate_every": steps // 10}
    settings = Settings(**{"steps": steps, **usual, **arm.settings})
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
        ships=images == "grey" and head != "censored" and arm in (_IDENTITY, _BOTH),  # notebook 10 shows their samples
        factors={"images": images, "head": head, "arm": arm.name},
    )  # fmt: skip


def _for_levels(likelihood: Likelihood, num_levels: int) -> Likelihood:
    """The same for more levels; a component can still be as narrow as one of them."""
    if isinstance(likelihood, LogisticMixture):
        narrowest = likelihood.min_log_scale - math.log(num_levels / likelihood.num_levels)
        return replace(likelihood, num_levels=num_levels, min_log_scale=round(narrowest, 1))
    return replace(likelihood, num_levels=num_levels)


_IDENTITY = _Arm("identity", Symbols())
_TARGETS = _Arm("targets", Symbols("targets"))
_BOTH = _Arm("both", Symbols("inputs and targets"))
_CORE = (_IDENTITY, _TARGETS, _BOTH)
_RAW = _Arm("raw", _BOTH.symbols)
_PACKED = _Arm("packed", replace(_BOTH.symbols, order="used first"))
_REORDERED = _Arm("reordered", replace(_BOTH.symbols, order="neighbours"))
_FREQUENCY = _Arm("frequency", replace(_BOTH.symbols, order="frequency"))
_HALF = {"learning_rate": 4e-3, "muon_lr": 0.01}
_TWICE = {"learning_rate": 1.6e-2, "muon_lr": 0.04}
_FOUR_TIMES = {"learning_rate": 3.2e-2, "muon_lr": 0.08}


def _scalar(arm: _Arm) -> _Arm:
    return arm.but("scalar", "levels as numbers", options={"embedding": None})


def _components(arm: _Arm, num: int) -> _Arm:
    return arm.but(f"k{num}", f"{num} components", options={"likelihood": _truncated(num)})


def _half_rate(num: int) -> _Arm:
    arm = _components(_BOTH, num)
    return replace(arm, name=f"{arm.name}-half-rate", title=f"{arm.title}, half the learning rates", settings=_HALF)


def _long(arm: _Arm) -> _Arm:
    return arm.but("long", "three times as long", settings={"steps": 3_000})


def _window(num: int) -> _Arm:
    return _BOTH.but(f"w{num}", f"within windows of {num}", symbols=replace(_BOTH.symbols, window=num))


def _together(num: int) -> _Arm:
    options = {"likelihood": _truncated(num), "init_output": False}
    return _BOTH.but(f"k{num}-together", f"{num} components that begin together", options=options)


_DEEP = _BOTH.but("deep", "a hidden layer before the head", options={"num_head_filters": 256})
_BROAD = _BOTH.but("broad", "scales as published", options={"likelihood": _truncated(min_log_scale=-7.0)})
_RATES = (
    _BOTH.but("four-times-rate", "four times the learning rates", trial=True, settings=_FOUR_TIMES),
    _BOTH.but("twice-rate", "twice the learning rates", trial=True, settings=_TWICE),
    _BOTH.but("half-rate", "half the learning rates", trial=True, settings=_HALF),
    _BOTH.but("fine-rate", "an eighth of Adam's learning rate", trial=True, settings={"learning_rate": 1e-3}),
)


def _placed(num: int, suffix: str, title: str, settings: Mapping | None = None, **options) -> _Arm:
    """A trial of what may help a mixture of `num` components on scrambled symbols: see SymbolMixture."""
    likelihood = SymbolMixture(num, tails="truncated", min_log_scale=-9.0, **options)
    return _BOTH.but(
        f"k{num}-{suffix}", f"{num} components, {title}", trial=True, options={"likelihood": likelihood},
        settings=settings or {},
    )  # fmt: skip


_RECIPES = [
    *(_placed(num, "slow", "means move a tenth as far", mean_rate=0.1) for num in (10, 85)),
    *(_placed(num, "slower", "means move a hundredth as far", mean_rate=0.01) for num in (10, 85)),
    *(_placed(num, "slow-half-rate", "means a tenth, half the rates", _HALF, mean_rate=0.1) for num in (10, 85)),
    *(_placed(num, "ceiling", "scales below the range", ceiling=0.0) for num in (10, 85)),
    *(_placed(num, "slow-ceiling", "both", mean_rate=0.1, ceiling=0.0) for num in (10, 85)),
    _placed(85, "twice-rate", "twice the learning rates", _TWICE),
    _placed(256, "fixed", "which stay on their symbols", fixed=True),
    _placed(256, "symbols", "which begin on their symbols", on_symbols=True),
    _placed(256, "symbols-slow", "from their symbols, means move a tenth as far", on_symbols=True, mean_rate=0.1),
    _placed(256, "symbols-slower", "from their symbols, means a hundredth", on_symbols=True, mean_rate=0.01),
]
_RANKS = [
    _BOTH.but(f"rank{rank}", f"through {rank} numbers", options={"num_head_filters": rank}) for rank in (1, 2, 4, 8)
]
_TREE = _BOTH.but("tree", "eight decisions", options={"likelihood": BinaryTree()})
_GRIDS = [
    _BOTH.but(f"grid{len(shape)}", f"in {len(shape)} dimensions", options={"likelihood": GridMixture(10, shape)})
    for shape in ((16, 16), (8, 8, 4))
]


def _head_alone(num: int) -> _Arm:
    """On the trunk that a softmax was trained with: what a mixture can say of features that suffice for a softmax."""
    likelihood = SymbolMixture(num, tails="truncated", min_log_scale=-9.0, on_symbols=num == 256, mean_rate=0.1)
    trunk = _run("grey", "softmax", _BOTH, seeds=3)
    return _BOTH.but(f"k{num}-head", f"{num} components, head alone", options={"likelihood": likelihood}, trunk=trunk)


_COMPARISONS = [  # images, heads, arms, seeds
    (["mnist", "grey"], ["softmax", "censored", "truncated"], _CORE, 3),
    (["grey"], ["softmax", "truncated"], [_scalar(arm) for arm in _CORE], 1),
    (["grey"], ["truncated"], [_components(_IDENTITY, num) for num in (1, 85)], 1),
    (["grey"], ["truncated"], [_components(_BOTH, num) for num in (1, 3)], 1),
    (["grey"], ["truncated"], [_components(_BOTH, 30)], 2),
    (["grey"], ["truncated"], [_components(_BOTH, 85), _half_rate(85)], 3),  # as many outputs as a softmax
    (["grey"], ["truncated"], [_half_rate(256)], 1),
    (["grey"], ["truncated"], [_window(num) for num in (4, 16, 64)], 1),
    (["grey"], ["softmax", "truncated"], [_long(_IDENTITY), _long(_BOTH)], 1),
    (["grey"], ["softmax", "truncated"], _RATES, 1),
    (["grey"], ["softmax"], [_DEEP], 1),
    (["grey"], ["truncated"], [_DEEP], 2),
    (["grey"], ["truncated"], [_together(10), _together(85), _BROAD], 1),
    (["mnist", "grey"], ["truncated"], [_REORDERED], 3),
    (["grey"], ["truncated"], _RECIPES, 1),
    (["grey"], ["softmax"], [*_RANKS, _TREE], 3),
    (["grey"], ["truncated"], [_head_alone(num) for num in (1, 3, 10, 30, 85, 256)], 3),
    (["grey"], ["truncated"], _GRIDS, 3),
    (["colour"], ["softmax", "truncated"], [_IDENTITY, _BOTH], 3),
    (["text", "tokens"], ["softmax"], [_RAW], 3),
    (["text", "tokens"], ["truncated"], [_RAW, _FREQUENCY, _REORDERED], 3),
    (["text", "tokens"], ["truncated"], [_components(_RAW, 30), _components(_REORDERED, 30)], 1),
    (["tokens"], ["truncated"], [_components(_RAW, 100), _components(_REORDERED, 100)], 1),
    (["codes-mnist", "codes-cifar10"], ["softmax"], [_RAW], 3),
    (["codes-mnist", "codes-cifar10"], ["truncated"], [_RAW, _PACKED, _REORDERED], 3),
]

RUNS = [
    _run(images, head, arm, seeds)
    for all_images, heads, arms, seeds in _COMPARISONS
    for images in all_images
    for head in heads
    for arm in arms
]
