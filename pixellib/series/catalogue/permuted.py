"""Notebook 10: softmax and mixture on images, or codes, whose symbols mean nothing, compared with each other.

These are the runs of the first edition, and the trials that chose a better recipe for the second: see scrambled.py.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from pixellib.series.catalogue.arms import FOUR_TIMES, TWICE, Arm, run_of, truncated
from pixellib.series.permuted.heads import SymbolMixture
from pixellib.series.permuted.symbols import Symbols

_IDENTITY = Arm("identity", Symbols(), "ordered")
_TARGETS = Arm("targets", Symbols("targets"), "targets scrambled")
_BOTH = Arm("both", Symbols("inputs and targets"), "scrambled")
_CORE = (_IDENTITY, _TARGETS, _BOTH)
_RAW = Arm("raw", _BOTH.symbols)
_PACKED = Arm("packed", replace(_BOTH.symbols, order="used first"))
_REORDERED = Arm("reordered", replace(_BOTH.symbols, order="neighbours"))
_HALF = {"learning_rate": 4e-3, "muon_lr": 0.01}
_EIGHT_TIMES = {"learning_rate": 6.4e-2, "muon_lr": 0.16}


def _scalar(arm: Arm) -> Arm:
    return arm.but("scalar", "levels as numbers", options={"embedding": None})


def _components(arm: Arm, num: int) -> Arm:
    return arm.but(f"k{num}", f"{num} components", options={"likelihood": truncated(num)})


def _half_rate(num: int) -> Arm:
    arm = _components(_BOTH, num)
    return replace(arm, name=f"{arm.name}-half-rate", title=f"{arm.title}, half the learning rates", settings=_HALF)


def _long(arm: Arm) -> Arm:
    return arm.but("long", "three times as long", settings={"steps": 3_000})


def _window(num: int) -> Arm:
    return _BOTH.but(f"w{num}", f"within windows of {num}", symbols=replace(_BOTH.symbols, window=num))


def _together(num: int) -> Arm:
    options = {"likelihood": truncated(num), "init_output": False}
    return _BOTH.but(f"k{num}-together", f"{num} components that begin together", options=options)


_DEEP = _BOTH.but("deep", "a hidden layer before the head", options={"num_head_filters": 256})
_BROAD = _BOTH.but("broad", "scales as published", options={"likelihood": truncated(min_log_scale=-7.0)})
_RATES = (
    _BOTH.but("four-times-rate", "four times the learning rates", trial=True, settings=FOUR_TIMES),
    _BOTH.but("twice-rate", "twice the learning rates", trial=True, settings=TWICE),
    _BOTH.but("half-rate", "half the learning rates", trial=True, settings=_HALF),
    _BOTH.but("fine-rate", "an eighth of Adam's learning rate", trial=True, settings={"learning_rate": 1e-3}),
)


def _placed(num: int, suffix: str, title: str, settings: Mapping | None = None, **options) -> Arm:
    """A trial of what may help a mixture of `num` components on scrambled symbols: see SymbolMixture."""
    likelihood = SymbolMixture(num, tails="truncated", min_log_scale=-9.0, **options)
    return _BOTH.but(
        f"k{num}-{suffix}", f"{num} components, {title}", trial=True, options={"likelihood": likelihood},
        settings=settings or {},
    )  # fmt: skip


def _share(num: int) -> float:
    """The log-scale at which a component is as broad as its share of the range."""
    return round(math.log(2 / num), 2)


def _limited(num: int, shares: float, suffix: str, title: str, settings: Mapping | None = None) -> Arm:
    """A trial with a hard limit of the scales in place of a smooth ceiling: see LogisticMixture."""
    likelihood = replace(truncated(num), max_log_scale=round(math.log(2 * shares / num), 2))
    options = {"likelihood": likelihood}
    return _BOTH.but(f"k{num}-{suffix}", f"{num} components, {title}", trial=True, options=options,
                     settings=settings or {})  # fmt: skip


_RECIPES = [
    *(_limited(num, 1, "limit", "scales at most a share") for num in (10, 85)),
    *(_limited(num, 0.5, "half-share", "scales at most half a share") for num in (10, 85)),
    *(
        _limited(num, 1, f"limit-{rates}-rate", f"at most a share, {rates.replace('-', ' ')} the rates", settings)
        for num in (10, 85)
        for rates, settings in (("twice", TWICE), ("four-times", FOUR_TIMES))
    ),
    # Half a share with four times the rates and means that move a tenth as far is what was chosen: see arms.py.
    *(
        _limited(num, 0.5, "half-share-four-times-rate", "at most half a share, four times the rates", FOUR_TIMES)
        for num in (10, 85)
    ),
    *(_placed(num, "slow", "means move a tenth as far", mean_rate=0.1) for num in (10, 85)),
    *(_placed(num, "slower", "means move a hundredth as far", mean_rate=0.01) for num in (10, 85)),
    *(_placed(num, "ceiling", "scales below the range", ceiling=0.0) for num in (10, 85)),
    *(
        _placed(num, "ceiling-half-rate", "scales below the range, half the rates", _HALF, ceiling=0.0)
        for num in (10, 85)
    ),
    *(
        _placed(num, "ceiling-twice-rate", "scales below the range, twice the rates", TWICE, ceiling=0.0)
        for num in (10, 85)
    ),
    *(
        _placed(num, "slow-ceiling", "scales below the range, means a tenth", mean_rate=0.1, ceiling=0.0)
        for num in (10, 85)
    ),
    *(_placed(num, "share", "scales below a share", ceiling=_share(num)) for num in (10, 85)),
    *(
        _placed(num, "slow-share", "scales below a share, means a tenth", mean_rate=0.1, ceiling=_share(num))
        for num in (10, 85)
    ),
    *(
        _placed(num, "share-half-rate", "scales below a share, half the rates", _HALF, ceiling=_share(num))
        for num in (10, 85)
    ),
    *(
        _placed(num, "share-twice-rate", "scales below a share, twice the rates", TWICE, ceiling=_share(num))
        for num in (10, 85)
    ),
    *(
        _placed(
            num,
            f"half-share-{word}-rate",
            f"at most half a share, {title}",
            settings,
            max_log_scale=round(math.log(1 / num), 2),
            mean_rate=rate,
        )
        for num in (10, 85)
        for word, title, settings, rate in (
            ("twice", "twice the rates", TWICE, 1.0),
            ("third-twice", "twice the rates, means a third as far", TWICE, 0.3),
            ("slow-twice", "twice the rates, means a tenth as far", TWICE, 0.1),
            ("slower-twice", "twice the rates, means a hundredth as far", TWICE, 0.01),
            ("third-four-times", "four times the rates, means a third as far", FOUR_TIMES, 0.3),
            ("slow-eight-times", "eight times the rates, means a tenth as far", _EIGHT_TIMES, 0.1),
        )
    ),
    _placed(85, "twice-rate", "twice the learning rates", TWICE),
    _placed(256, "fixed", "which stay on their symbols", fixed=True),
]

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
    (["codes-mnist", "codes-cifar10"], ["softmax"], [_RAW], 3),
    (["codes-mnist", "codes-cifar10"], ["truncated"], [_RAW, _PACKED, _REORDERED], 3),
]

RUNS = [
    run_of(images, head, arm, seeds)
    for all_images, heads, arms, seeds in _COMPARISONS
    for images in all_images
    for head in heads
    for arm in arms
]
