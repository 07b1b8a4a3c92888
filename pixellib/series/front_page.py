"""The generated parts of the README: the path through the notebooks, and the results that stand for all."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pixellib.series import execute, paths, runs
from pixellib.series.tables import score

if TYPE_CHECKING:
    from pixellib.series.run import Run

SHOWN = (  # one row for each kind of model
    "iwae-k50",
    "vae-dmol",
    "vae-dmol-ladder",
    "gated-cifar10-12x30",
    "pixelcnnpp-cifar10",
    "flow-multi-vardeq",
    "pixelvae-binary",
    "pixelcnnpp-mnist-softmax",
)


def learning_path() -> str:
    """A row for each notebook: its first figure, title, first lesson, and how long it runs."""
    rows = ["| | notebook | on 2 cores |", "|---|---|---|"]
    for name in execute.names():
        texts = [cell.source for cell in execute.read(execute.source(name)).cells if cell.cell_type == "markdown"]
        title = texts[0].partition("\n")[0].lstrip("# ")
        figure = _found(name, r"[*]{2}Figures[.][*]{2} `(\w+)`", texts[0])
        cost = _found(name, r"`reference`: (?:about )?([^.;,]*)", texts[0])
        lesson = _found(name, r"## What we learned\n+- (.*)", "\n\n".join(texts))
        rows.append(
            f'| <img src="figures/{figure}.png" width="220" alt="First figure of {name}"> '
            f"| **[{title}](notebooks/{name}.ipynb)**<br>{lesson} | {cost} |"
        )
    return "\n".join(rows)


def _found(name: str, pattern: str, text: str) -> str:
    """ValueError, with the pattern, where a notebook lacks what every one must say."""
    found = re.search(pattern, text)
    if not found:
        raise ValueError(f"notebook {name} has no text like {pattern}")
    return found[1].strip()


def results() -> str:
    """A row for each of a few runs. All others stand in figures/results/README.md."""
    rows = ["| model | data | test | published | images seen | training |", "|---|---|---|---|---|---|"]
    for name in SHOWN:
        if (paths.RESULTS / f"{name}.json").exists():
            rows.append(_row(runs.get(name), runs.record(name)))
    return "\n".join(rows)


def _row(run: "Run", record: Mapping) -> str:
    last = record["results"][-1]
    bound = "≤ " if last["kind"] == "lower bound" else ""
    cells = [
        f"{run.title} (`{run.name}`)",
        f"{run.dataset}, binarised" if run.binarised else run.dataset,
        f"{bound}{score(record)} {run.unit}",
        "{:g}, {}".format(*run.anchor) if run.anchor else "–",
        f"{record['images_seen'] / 1e6:.3g} M",
        f"{record['training_minutes']:.0f} min",
    ]
    return f"| {' | '.join(cells)} |"
