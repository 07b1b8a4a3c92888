"""Notebook 10: softmax and mixture on images, or codes, whose symbols mean nothing, compared with each other.

A run is what the images are, which head reads the network's output, and an arm: what is done with symbols and network.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pixellib.likelihoods import Categorical, LogisticMixture
from pixellib.models import GatedPixelCNN, PixelCNNpp
from pixellib.series.catalogue import vqvae
from pixellib.series.catalogue.common import COMPARED, EMBEDDED, FAST, paper, quick
from pixellib.series.permuted.heads import BinaryTree, GridMixture, SymbolMixture
from pixellib.series.permuted.symbols import Symbols
from pixellib.series.run import Plan, Run
from pixellib.training import Settings

_CODES = {"codes-mnist": vqvae.MNIST, "codes-cifar10": vqvae.CIFAR10}
_DATASETS = {"mnist": "mnist", "grey": "cifar10", "codes-mnist": "mnist", "codes-cifar10": "cifar10"}
_SIZES = {"mnist": [28, 28], "grey": [32, 32], "codes-mnist": [7, 7], "codes-cifar10": [8, 8]}


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
    dataset, codes = _DATASETS[images], _CODES.get(images)
    network = {"num_filters": 16, "num_resnets": 1, "dropout": 0.0}
    if codes:
        network = {"num_layers": 4, "num_filters": 32, "kernel_size": 3}
    begin = {"embedding": 16, "init_output": head != "softmax"}  # a softmax has nothing to lay side by side
    steps = arm.settings.get("steps", 1_000)
    usual = {"batch_size": 64 if codes else 16, **FAST, "warmup_steps": 50, "schedule": "cosine", "max_grad_norm": 1.0}
    usual |= {"ema_decay": 0.998, "precision": "fp32", "validate_every": steps // 10}
    settings = Settings(**{"steps": steps, **usual, **arm.settings})
    return Run(
        name=f"permuted-{images}-{head}-{arm.name}",
        title=f"{head}, {arm.title or arm.name}",
        dataset=dataset,
        family=GatedPixelCNN if codes else PixelCNNpp,
        options={
            "channels": 1, "size": _SIZES[images], "likelihood": _HEADS[head], **begin, **network, **arm.options
        },
        plans={
            "quick": Plan(quick(settings), dataset=EMBEDDED[dataset], num_test=40, num_validation=40),
            "reference": Plan(settings, trunk=arm.trunk, start=arm.start, **COMPARED),
            "paper": Plan(paper(settings, steps=50_000), trunk=arm.trunk, start=arm.start),
        },
        symbols=replace(arm.symbols, codes=codes),
        seeds=seeds,
        evaluate_on=("validation",) if arm.trial else ("train", "validation", "test"),
        ships=images == "grey" and head != "censored" and arm in (_IDENTITY, _BOTH),  # notebook 10 shows their samples
        factors={"images": images, "head": head, "arm": arm.name},
    )  # fmt: skip


_IDENTITY = _Arm("identity", Symbols())
_TARGETS = _Arm("targets", Symbols("targets"))
_BOTH = _Arm("both", Symbols("inputs and targets"))
_CORE = (_IDENTITY, _TARGETS, _BOTH)
_RAW = _Arm("raw", _BOTH.symbols)
_PACKED = _Arm("packed", replace(_BOTH.symbols, order="used first"))
_REORDERED = _Arm("reordered", replace(_BOTH.symbols, order="neighbours"))
_HALF = {"learning_rate": 4e-3, "muon_lr": 0.01}
_TWICE = {"learning_rate": 1.6e-2, "muon_lr": 0.04}


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
