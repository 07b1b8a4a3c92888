"""What `pixellib check` refuses: committed notebooks, figures, checkpoints and records that do not belong together."""

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pixellib import checkpoints, files
from pixellib.series import execute, notebook_inputs, paths, publish, runs
from pixellib.series.execute import INJECTED
from pixellib.series.paths import shorten

PARAMETERS = ("profile", "seed", "device", "figures_dir", "retrain")  # every notebook has these

# The version of pixellib that last changed what a training learns: its batches, noise, optimiser or averaging of
# weights. Raise it, and pixellib's, with such a change: records of earlier versions are then listed.
TRAINING_CHANGED = "0.2.0"


def check() -> None:
    """RuntimeError, naming each file and its fault, unless all that is committed belongs together.

    Notebooks carry the outputs of today's sources; they and the README state what the records say; figures/ holds
    exactly the figures that the notebooks show; every shipped checkpoint is whole and agrees with its record. Records
    made before the training loop last changed are listed, but they are no fault, because a training takes hours.
    """
    if old := list(dict.fromkeys(_outdated())):
        which = ", ".join(old[:3]) + f" and {len(old) - 3} more runs" * (len(old) > 3)
        print(f"no fault, but from before the training loop changed in {TRAINING_CHANGED}: {which}", file=sys.stderr)
    faults = [*_notebooks(), *_readmes(), *_figures(), *_records(), *_checkpoints()]
    if faults:
        raise RuntimeError("; ".join(dict.fromkeys(faults)))


def _problem(call: Callable[[], object]) -> str | None:
    """What a call complains about, as of a file that cannot be read."""
    try:
        call()
    except (RuntimeError, ValueError, OSError) as error:
        return str(error)
    return None


def _notebooks() -> Iterator[str]:
    for name in execute.names():
        if problem := _problem(partial(_check_notebook, name)):
            yield problem


def _check_notebook(name: str) -> None:
    """RuntimeError unless the notebook carries what a run of today's sources gives."""
    missing = [key for key in PARAMETERS if key not in execute.parameters(name)]
    notebook = execute.read(execute.source(name))
    counts = [cell.execution_count for cell in execute.code_cells(notebook)]
    fault = None
    if missing:
        fault = f"lacks the parameters {', '.join(missing)}"
    elif any(INJECTED in cell.metadata.get("tags", []) for cell in notebook.cells):
        fault = "holds a cell of parameters injected by papermill"
    elif counts != list(range(1, len(counts) + 1)):
        fault = "does not carry the outputs of a run from top to bottom"
    elif notebook != publish.notebook_with_results(name):
        fault = "states a result that is not that of the records"
    elif notebook.metadata.get("pixellib", {}).get("hash") != notebook_inputs.digest(notebook.cells):
        fault = "has outputs older than its source, the library or the records it reads"
    if fault:
        raise RuntimeError(f"{name} {fault}: run `make publish`")


def _readmes() -> Iterator[str]:
    for path in publish.readmes():
        try:
            text = path.read_text(encoding="utf-8")
            if text != publish.with_results(text):
                yield f"{shorten(path)} has a table of results that is not that of the records: run `make publish`"
        except (RuntimeError, ValueError, OSError) as error:
            yield f"{shorten(path)}: {error}"


def _figures() -> Iterator[str]:
    shown = {}
    for name in execute.names():
        if not _problem(partial(execute.read, execute.source(name))):  # else said already
            shown |= execute.figures(execute.read(execute.source(name)))
    committed = {path.stem: path for path in (paths.ROOT / "figures").glob("*.png")}
    for name in sorted(shown.keys() | committed.keys()):
        if name not in shown:
            yield f"figures/{name}.png is shown by no notebook: delete it"
        elif name not in committed:
            yield f"figures/{name}.png is missing: run `make publish`"
        elif committed[name].read_bytes() != shown[name]:
            yield f"figures/{name}.png is not what its notebook shows: run `make publish`"


def _records() -> Iterator[str]:
    """Records that cannot be read, or that belong to no training of the series."""
    trainings = [(name, seed) for name in runs.names() for seed in range(runs.get(name).seeds)]
    expected = dict.fromkeys((runs.record_path(name, seed) for name, seed in trainings), ("name", "results"))
    expected |= dict.fromkeys((paths.RESULTS / name for name in paths.MEASUREMENTS), ("hardware", "rows"))
    for path in sorted(set(paths.RESULTS.glob("*")) - set(publish.readmes())):
        if path not in expected:
            yield f"{shorten(path)} is the record of no run"
        elif problem := _problem(partial(files.read_json, path, expected[path])):
            yield problem


def _checkpoints() -> Iterator[str]:
    shipping = {f"{name}.safetensors": runs.record_path(name) for name in runs.names() if runs.get(name).ships}
    for file in sorted(shipping.keys() | {path.name for path in paths.CHECKPOINTS.glob("*")}):
        path, record = paths.CHECKPOINTS / file, shipping.get(file)
        if record is None:
            yield f"{shorten(path)} is the checkpoint of no run that ships one"
        elif path.exists() != record.exists():  # a run with neither has not been trained yet
            missing, present = (record, path) if path.exists() else (path, record)
            yield f"{shorten(missing)} is missing, although there is {shorten(present)}"
        elif path.exists() and (problem := _problem(partial(_check_checkpoint, path, record))):
            yield problem


def _check_checkpoint(path: Path, record: Path) -> None:
    """RuntimeError unless a checkpoint has the digest in its header, and a header that agrees with its record."""
    checkpoints.load(path)
    if differing := publish.disagreement(path, record):
        raise RuntimeError(f"{shorten(path)} and {shorten(record)} disagree about {', '.join(differing)}")


def _outdated() -> Iterator[str]:
    """The runs whose shipped records are older than the training loop."""
    for path in sorted(paths.RESULTS.glob("*.json")):
        if not _problem(partial(files.read_json, path)):
            record = files.read_json(path)
            version = record.get("code_version") or "0"  # unknown where a training was begun by one that did not say
            if "results" in record and _numbers(version) < _numbers(TRAINING_CHANGED):
                yield re.sub(r"-seed\d+$", "", path.stem)


def _numbers(version: str) -> tuple[int, ...]:
    """Of "0.2.0+digest" the numbers (0, 2, 0)."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0]))
