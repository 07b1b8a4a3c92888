"""The second edition of notebook 10: which part of what a mixture loses on scrambled symbols must be lost, what other
heads of few numbers lose, and how all this changes with the length of the training, the width and the kind of symbols.

notebooks/10_plan.md is the plan that was written before.
"""

from collections.abc import Mapping
from dataclasses import replace

from pixellib.series.catalogue.arms import EIGHT_TIMES, FOUR_TIMES, HALF, TWICE, Arm, mixture, run_of
from pixellib.series.catalogue.common import FAST
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
    options: more of them, such as of a layer before the head, which is trained with it.
    """
    title, options = f"{_number(num)}, head alone{title}", {"likelihood": mixture(num), **(options or {})}
    return _SCRAMBLED.but(f"k{num}-{kind}head", title, options=options, trunk=_SOFTMAX, settings=settings)


def _free_head(num: int) -> Arm:
    options = {"likelihood": replace(mixture(num), max_log_scale=None)}
    return _head_alone(num, "free-", ", scales without a limit", options)


_HIDDEN = 256  # features of the layer that is put before a head to see whether one linear layer is the obstacle
_DEEP = {"num_head_filters": _HIDDEN}


def _deep(num: int) -> Arm:
    options: Mapping = {"likelihood": mixture(num), **_DEEP}
    return _SCRAMBLED.but(f"k{num}-deep", f"{num} components, a hidden layer before the head", options=options)


def _warm(num: int) -> Arm:
    """All weights, from the softmax's trunk and the head that was trained on it."""
    start = run_of("grey", "mixture", _head_alone(num), 5)
    title = f"{num} components, from the head alone"
    return _SCRAMBLED.but(f"k{num}-warm", title, options={"likelihood": mixture(num)}, start=start)


def _by(order: str, arm: Arm, images: str = "grey") -> Arm:
    """Symbols in an order that was found in them."""
    softmax = run_of(images, "softmax", arm) if order == "predictions" else None
    symbols = replace(arm.symbols, order=order, softmax=softmax, spread=images != "grey")  # where all levels occur
    return arm.but(f"by-{order}", f"ordered by {order}", symbols=symbols)


def _rank(num: int) -> Arm:
    return _SCRAMBLED.but(f"rank{num}", f"through {num} numbers", options={"num_head_filters": num})


def _steps(num: int, arm: Arm = _SCRAMBLED) -> Arm:
    return arm.but(f"{num}-steps", f"{num:,} steps", settings={**arm.settings, "steps": num})


def _trial(arm: Arm, rates: str, **settings) -> Arm:
    title = f"{rates.replace('-', ' ')} the learning rates"
    return arm.but(f"{rates}-rate", title, trial=True, settings={**arm.settings, **settings})


def _filters(num: int) -> Arm:
    return _SCRAMBLED.but(f"{num}-filters", f"{num} filters", options={"num_filters": num})


def _window(num: int) -> Arm:
    """Levels that are scrambled within blocks of so many."""
    symbols = replace(_SCRAMBLED.symbols, window=num)
    return _SCRAMBLED.but(f"window{num}", f"in windows of {num}", symbols=symbols)


def _permutation(num: int) -> Arm:
    """Another permutation than that of the seed."""
    return _SCRAMBLED.but(
        f"permutation{num}", f"permutation {num}", symbols=replace(_SCRAMBLED.symbols, permutation_seed=num)
    )


_RATES = {"usual": FAST, "half": HALF, "twice": TWICE, "four-times": FOUR_TIMES, "eight-times": EIGHT_TIMES}
_UP_TO_FOUR = ["half", "twice", "four-times"]


def _at_rates(arm: Arm, rates: list[str]) -> list[Arm]:
    return [_trial(arm, name, **_RATES[name]) for name in rates]


_TEXTS, _CODES = ("text", "tokens"), ("codes-mnist", "codes-cifar10")
_ORDERS = ("frequency", "neighbours", "predictions")
_USED = _NUMBERED.but(  # as they are, but over the whole range: what any order of them is to be compared with
    "spread", "spread over the range", symbols=Symbols(order="used first", spread=True)
)
_CONTINUED = _SCRAMBLED.but("continued", "trained on", start=_SOFTMAX)
_HEAD = _SCRAMBLED.but("head", "head alone", trunk=_SOFTMAX)
_STILL = replace(mixture(10), mean_rate=1e-4)  # means that hardly move, and free scales
_FIXED = SymbolMixture(256, tails="truncated", min_log_scale=-9.0, fixed=True)
_SLOWER = replace(mixture(256), mean_rate=0.01)
_SYMBOLS = [  # the first is a softmax in other words, and has its rates
    _SCRAMBLED.but("k256-fixed", "256 components fixed", options={"likelihood": _FIXED}, settings=TWICE),
    _SCRAMBLED.but("k256-slower", "256 components, means a hundredth as fast", options={"likelihood": _SLOWER}),
]

_COMPARISONS = [  # images, heads, arms, seeds
    ("grey", ["softmax", "mixture"], [_ORDERED, _SCRAMBLED], 5),
    ("grey", ["mixture"], [_components(_SCRAMBLED, num) for num in (30, 85)], 5),
    ("grey", ["mixture"], [_components(_SCRAMBLED, num) for num in (1, 3)], 3),
    ("grey", ["mixture"], [_components(_SCRAMBLED, 256), *_SYMBOLS], 2),
    ("grey", ["mixture"], [_components(_ORDERED, 1)], 2),
    ("grey", ["mixture"], [_head_alone(num) for num in (10, 30, 85)], 5),
    ("grey", ["mixture"], [_head_alone(num) for num in (1, 3)], 3),
    ("grey", ["mixture"], [_head_alone(256)], 2),
    ("grey", ["mixture"], [_head_alone(num, "deep-", ", with a hidden layer", _DEEP) for num in (10, 85)], 2),
    ("grey", ["mixture"], [_head_alone(num, "long-", ", 3,000 steps", steps=3_000) for num in (10, 85)], 2),
    ("grey", ["mixture"], [_free_head(num) for num in (10, 85)], 2),
    ("grey", ["mixture"], [_head_alone(10, "still-", ", means that stay", {"likelihood": _STILL})], 2),
    ("grey", ["mixture"], [_trial(_head_alone(num), "half", **TWICE) for num in (10, 85)], 1),
    ("grey", ["mixture"], [_trial(_head_alone(num), "twice", **EIGHT_TIMES) for num in (10, 85)], 1),
    ("grey", ["softmax"], [_HEAD], 2),
    ("grey", ["mixture"], [_deep(num) for num in (10, 85)], 2),
    ("grey", ["mixture"], [_warm(num) for num in (10, 85)], 2),
    ("grey", ["softmax"], [_CONTINUED, _SCRAMBLED.but("deep", "a hidden layer before the head", options=_DEEP)], 2),
    ("grey", ["softmax"], [_rank(num) for num in (1, 2, 4, 8)], 2),
    ("grey", ["tree", "grid2", "grid3", "truncated"], [_SCRAMBLED], 2),  # the last with rates and freedom of the grids
    ("grey", ["mixture"], [_by(order, _SCRAMBLED) for order in ("neighbours", "predictions")], 2),
    ("grey", ["mixture"], [_window(num) for num in (4, 16, 64)], 1),
    ("grey", ["mixture"], [_permutation(num) for num in (11, 12, 13)], 1),
    ("grey", ["mixture"], [_permutation(10)], 4),
    ("grey", ["softmax", "mixture"], [_steps(300)], 2),
    ("grey", ["softmax", "mixture"], [_steps(3_000)], 2),
    ("grey", ["softmax", "mixture"], [_steps(9_000), _filters(32), _filters(64)], 1),
    ("grey", ["softmax", "mixture"], [_steps(3_000, _ORDERED)], 1),
    ("grey", ["softmax"], [_trial(_steps(3_000), "half", **FAST)], 1),
    ("grey", ["mixture"], [_trial(_steps(3_000), "half", **TWICE)], 1),
    ("colour", ["softmax", "mixture"], [_ORDERED, _SCRAMBLED], 2),
    *((images, ["softmax", "mixture"], [_NUMBERED], 2) for images in _TEXTS),
    *((images, ["mixture"], [_by(order, _NUMBERED, images) for order in _ORDERS], 2) for images in _TEXTS),
    *((images, ["mixture"], [_SCRAMBLED, _USED], 2) for images in _TEXTS),
    ("text", ["softmax", "mixture"], _at_rates(_NUMBERED, _UP_TO_FOUR), 1),
    ("tokens", ["softmax"], _at_rates(_NUMBERED, ["usual", "twice", "eight-times"]), 1),
    ("tokens", ["mixture"], _at_rates(_NUMBERED, _UP_TO_FOUR), 1),
    ("codes-cifar10", ["softmax", "mixture"], _at_rates(_SCRAMBLED, _UP_TO_FOUR), 1),
    ("mnist", ["softmax", "mixture"], [_ORDERED, _SCRAMBLED], 2),
    *((images, ["softmax", "mixture"], [_SCRAMBLED], 3) for images in _CODES),
    *((images, ["mixture"], [_components(_SCRAMBLED, num) for num in (30, 85)], 3) for images in _CODES),
    *((images, ["mixture"], [_by(order, _SCRAMBLED, images) for order in _ORDERS[1:]], 3) for images in _CODES),
]

RUNS = [
    run_of(images, head, arm, seeds) for images, heads, arms, seeds in _COMPARISONS for head in heads for arm in arms
]
