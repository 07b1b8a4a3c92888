"""The trials that chose how the mixture of notebook 10 is trained on scrambled symbols, with seed 0 and looked at on
validation images: see notebooks/10_plan.md.

A component's *share* is the range divided by the number of components.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from pixellib.likelihoods import LogisticMixture
from pixellib.series.catalogue.arms import HALF, RATES, TWICE, Arm, run_of, truncated
from pixellib.series.permuted.heads import SymbolMixture
from pixellib.series.permuted.symbols import Symbols
from pixellib.series.run import Run


def _trial(head: str, name: str, settings: Mapping, **options: LogisticMixture) -> Run:
    arm = Arm(f"both{name}", Symbols("inputs and targets"), options=options, settings=settings, trial=True)
    return run_of("grey", head, arm)


def _rate(name: str) -> str:
    return f"-{name}-rate" if name else ""


def _limited(num: int, shares: float) -> LogisticMixture:
    """With a hard limit of the scales, so many shares of a component."""
    return replace(truncated(num), max_log_scale=round(math.log(2 * shares / num), 2))


def _placed(num: int, **options: float) -> SymbolMixture:
    return SymbolMixture(num, "truncated", min_log_scale=-9.0, **options)


def _half_share(num: int, mean_rate: float) -> SymbolMixture:
    return _placed(num, max_log_scale=round(math.log(1 / num), 2), mean_rate=mean_rate)


def _recipes(num: int) -> list[tuple[str, LogisticMixture, list[str]]]:
    """What a trial with so many components is called, its likelihood, and its rates."""
    share = round(math.log(2 / num), 2)
    return [
        ("-slow", _placed(num, mean_rate=0.1), [""]),
        ("-ceiling", _placed(num, ceiling=0.0), ["", "half", "twice"]),
        ("-share", _placed(num, ceiling=share), ["", "half", "twice"]),
        ("-slow-ceiling", _placed(num, mean_rate=0.1, ceiling=0.0), [""]),
        ("-slow-share", _placed(num, mean_rate=0.1, ceiling=share), [""]),
        ("-limit", _limited(num, 1), ["", "twice", "four-times"]),
        ("-half-share", _limited(num, 0.5), ["", "twice", "four-times"]),
        ("-half-share-third", _half_share(num, 0.3), ["twice", "four-times"]),
        ("-half-share-slow", _half_share(num, 0.1), ["twice", "eight-times"]),  # with four times it was chosen: arms.py
        ("-half-share-slower", _half_share(num, 0.01), ["twice"]),
    ]


RUNS = [
    *(
        _trial(head, _rate(rate), RATES[rate or "usual"])
        for head in ("softmax", "truncated")
        for rate in ("", "half", "twice", "four-times")
    ),
    _trial("truncated", "-k85", {}, likelihood=truncated(85)),
    _trial("truncated", "-k85-half-rate", HALF, likelihood=truncated(85)),
    _trial("truncated", "-k85-twice-rate", TWICE, likelihood=_placed(85)),
    *(
        _trial("truncated", f"-k{num}{name}{_rate(rate)}", RATES[rate or "usual"], likelihood=likelihood)
        for num in (10, 85)
        for name, likelihood, rates in _recipes(num)
        for rate in rates
    ),
]
