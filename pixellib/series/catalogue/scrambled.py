"""The second edition of notebook 10: which part of what a mixture loses on scrambled symbols must be lost, what other
heads of few numbers lose, and how all this changes with the length of the training, the width and the kind of symbols.

notebooks/10_plan.md is the plan that was written before.
"""

from collections.abc import Mapping
from dataclasses import replace

from pixellib.series.catalogue.arms import EIGHT_TIMES, RATES, TWICE, Arm, mixture, run_of
from pixellib.series.permuted.heads import SymbolMixture
from pixellib.series.permuted.symbols import Symbols

_ORDERED = Arm("ordered", Symbols(), chosen_rates=True)
_SCRAMBLED = Arm("scrambled", Symbols("inputs and targets"), chosen_rates=True)
_NUMBERED = Arm("numbered", Symbols(), chosen_rates=True)  # bytes and tokens as they are


def _number(num: int) -> str:
    return f"{num} component{'s' * (num > 1)}"


def _components(arm: Arm, num: int) -> Arm:
    return arm if num == 10 else arm.but(f"k{num}", _number(num), options={"likelihood": mixture(num)})


_SOFTMAX = run_of("grey", "softmax", _SCRAMBLED, 5)


def _head_alone(num: int, kind: str = "", title: str = "", options: Mapping | None = None, **settings) -> Arm:
    """On the trunk that a softmax was trained with: what a mixture can say of features that suffice for a softmax.
    options: more of them, such as of a layer before the head, which is trained with it. Where only the number of
    components is new, the best mixture is fitted as well.
    """
    symbols = replace(_SCRAMBLED.symbols, best_mixture=not kind)
    title, options = f"{_number(num)}, head alone{title}", {"likelihood": mixture(num), **(options or {})}
    return _SCRAMBLED.but(
        f"k{num}-{kind}head", title, symbols=symbols, options=options, trunk=_SOFTMAX, settings=settings
    )


_HIDDEN = 256  # features of the layer that is put before a head to see whether one linear layer is the obstacle
_DEEP = {"num_head_filters": _HIDDEN}


def _warm(num: int) -> Arm:
    """All weights, from the softmax's trunk and the head that was trained on it."""
    start = run_of("grey", "mixture", _head_alone(num), 5)
    title = f"{num} components, from the head alone"
    return _SCRAMBLED.but(f"k{num}-warm", title, options={"likelihood": mixture(num)}, start=start)


def _by(order: str, arm: Arm, images: str = "grey", packed: bool = False) -> Arm:
    """Symbols in an order that was found in them. packed: those that occur take the first places, and not the whole
    range.
    """
    softmax = run_of(images, "softmax", arm) if order == "predictions" else None
    spread = images != "grey" and not packed  # all grey levels occur
    symbols = replace(arm.symbols, order=order, softmax=softmax, spread=spread)
    suffix, title = ("-packed", ", packed") if packed else ("", "")
    return arm.but(f"by-{order}{suffix}", f"ordered by {order}{title}", symbols=symbols)


def _rank(num: int) -> Arm:
    return _SCRAMBLED.but(f"rank{num}", f"through {num} numbers", options={"num_head_filters": num})


def _steps(num: int) -> Arm:
    return _SCRAMBLED.but(f"{num}-steps", f"{num:,} steps", settings={"steps": num})


def _trial(arm: Arm, rates: str, **settings) -> Arm:
    title = f"{rates.replace('-', ' ')} the learning rates"
    return arm.but(f"{rates}-rate", title, trial=True, settings={**arm.settings, **settings})


def _filters(num: int) -> Arm:
    return _SCRAMBLED.but(f"{num}-filters", f"{num} filters", options={"num_filters": num})


_UNCOUPLED = _SCRAMBLED.but(  # means of a channel that do not depend on the levels of the channels before it
    "uncoupled", "channels not coupled", options={"likelihood": replace(mixture(), coupled=False)}
)


def _window(num: int) -> Arm:
    """Levels that are scrambled within blocks of so many."""
    symbols = replace(_SCRAMBLED.symbols, window=num)
    return _SCRAMBLED.but(f"window{num}", f"in windows of {num}", symbols=symbols)


def _permutation(num: int) -> Arm:
    """Another permutation than that of the seed."""
    return _SCRAMBLED.but(
        f"permutation{num}", f"permutation {num}", symbols=replace(_SCRAMBLED.symbols, permutation_seed=num)
    )


_UP_TO_FOUR = ["half", "twice", "four-times"]


def _at_rates(arm: Arm, rates: list[str]) -> list[Arm]:
    return [_trial(arm, name, **RATES[name]) for name in rates]


_TEXTS, _CODES = ("text", "tokens"), ("codes-mnist", "codes-cifar10")
_ORDERS = ("frequency", "neighbours", "predictions")
_USED = _NUMBERED.but(  # as they are, but over the whole range: what any order of them is to be compared with
    "spread", "spread over the range", symbols=Symbols(order="used first", spread=True)
)
_PACKED = _NUMBERED.but("packed", "packed", symbols=Symbols(order="used first"))
_CONTINUED = _SCRAMBLED.but("continued", "trained on", start=_SOFTMAX)
_HEAD = _SCRAMBLED.but("head", "head alone", trunk=_SOFTMAX)
_FIXED = SymbolMixture(256, tails="truncated", min_log_scale=-9.0, fixed=True)
_SLOWER = replace(mixture(256), mean_rate=0.01)
_SYMBOLS = [  # the first is a softmax in other words, and has its rates
    _SCRAMBLED.but("k256-fixed", "256 components fixed", options={"likelihood": _FIXED}, settings=TWICE),
    _SCRAMBLED.but("k256-slower", "256 components, means a hundredth as fast", options={"likelihood": _SLOWER}),
]

_COMPARISONS = [  # images, heads, arms, seeds
    ("grey", ["softmax", "mixture"], [_ORDERED, _SCRAMBLED], 5),
    ("grey", ["mixture"], [_components(_SCRAMBLED, num) for num in (30, 85)], 5),
    ("grey", ["mixture"], [_components(_SCRAMBLED, num) for num in (1, 3)], 1),
    ("grey", ["mixture"], _SYMBOLS, 1),
    ("grey", ["mixture"], [_components(_ORDERED, 1)], 1),
    ("grey", ["mixture"], [_head_alone(num) for num in (10, 30, 85)], 5),
    ("grey", ["mixture"], [_head_alone(num) for num in (1, 3)], 1),
    ("grey", ["mixture"], [_head_alone(num, "deep-", ", with a hidden layer", _DEEP) for num in (10, 85)], 1),
    ("grey", ["mixture"], [_head_alone(10, "long-", ", 3,000 steps", steps=3_000)], 1),
    ("grey", ["mixture"], [_trial(_head_alone(num), "half", **TWICE) for num in (10, 85)], 1),
    ("grey", ["mixture"], [_trial(_head_alone(num), "twice", **EIGHT_TIMES) for num in (10, 85)], 1),
    ("grey", ["softmax"], [_HEAD], 1),
    ("grey", ["mixture"], [_warm(num) for num in (10, 85)], 1),
    ("grey", ["softmax"], [_CONTINUED], 1),
    ("grey", ["softmax"], [_rank(num) for num in (1, 2, 4, 8)], 1),
    ("grey", ["tree", "grid2", "grid3", "truncated"], [_SCRAMBLED], 1),  # the last with rates and freedom of the grids
    ("grey", ["mixture"], [_by(order, _SCRAMBLED) for order in ("neighbours", "predictions")], 1),
    ("grey", ["mixture"], [_window(num) for num in (4, 16, 64)], 1),
    ("grey", ["mixture"], [_permutation(num) for num in (11, 12)], 1),
    ("grey", ["mixture"], [_permutation(10)], 3),
    ("grey", ["softmax", "mixture"], [_steps(300)], 1),
    ("grey", ["softmax", "mixture"], [_steps(3_000)], 1),
    ("grey", ["softmax", "mixture"], [_steps(9_000), _filters(32), _filters(64)], 1),
    ("colour", ["softmax", "mixture"], [_ORDERED, _SCRAMBLED], 1),
    ("colour", ["mixture"], [_UNCOUPLED], 1),
    *((images, ["softmax", "mixture"], [_NUMBERED], 1) for images in _TEXTS),
    *((images, ["mixture"], [_by(order, _NUMBERED, images) for order in _ORDERS], 1) for images in _TEXTS),
    *((images, ["mixture"], [_SCRAMBLED, _USED], 1) for images in _TEXTS),
    ("text", ["mixture"], [_PACKED, *(_by(order, _NUMBERED, "text", packed=True) for order in _ORDERS)], 1),
    ("text", ["softmax", "mixture"], _at_rates(_NUMBERED, _UP_TO_FOUR), 1),
    ("tokens", ["softmax"], _at_rates(_NUMBERED, ["usual", "twice", "eight-times"]), 1),
    ("tokens", ["mixture"], _at_rates(_NUMBERED, _UP_TO_FOUR), 1),
    ("codes-cifar10", ["softmax", "mixture"], _at_rates(_SCRAMBLED, _UP_TO_FOUR), 1),
    ("mnist", ["softmax", "mixture"], [_ORDERED, _SCRAMBLED], 1),
    *((images, ["softmax", "mixture"], [_SCRAMBLED], 1) for images in _CODES),
    *((images, ["mixture"], [_components(_SCRAMBLED, num) for num in (30, 85)], 1) for images in _CODES),
    *((images, ["mixture"], [_by(order, _SCRAMBLED, images) for order in _ORDERS[1:]], 1) for images in _CODES),
]

RUNS = [
    run_of(images, head, arm, seeds) for images, heads, arms, seeds in _COMPARISONS for head in heads for arm in arms
]
