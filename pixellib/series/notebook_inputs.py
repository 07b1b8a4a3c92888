"""Which files the outputs of a notebook depend on.

They are its cells, the library, the modules of the series that draw or tabulate, and the records and checkpoints of
the runs that it names. The rest of the series is machinery: a change of the command line makes no notebook stale.

The Snakefile asks this module too, so it imports nothing that takes long.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pixellib.series import paths

PRESENTATION = ("figures.py", "tables.py")  # modules of the series that decide how every notebook's outputs look


def of(text: str) -> list[Path]:
    """The files that the outputs of a notebook depend on, besides itself. text: the source of its cells.

    A run counts where the notebook gives its name in full, with all its seeds and with the trainings that it began
    with. A name put together from parts is not recognised, and notebooks do not use such names.
    """
    series = paths.ROOT / "pixellib" / "series"
    presentation = [path for name in PRESENTATION if (path := series / name).exists()]
    if "formats.formats(" in text:
        presentation.append(series / "formats.py")
    if "pixellib.series.permuted" in text:
        presentation += (series / "permuted").glob("*.py")
    return sorted({*paths.library(), *presentation, *_results(text)})


def of_source(path: Path | str) -> list[Path]:
    """The same for the file of a notebook; for one that cannot be read, what any notebook depends on."""
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        return of("\n".join("".join(cell["source"]) for cell in cells))
    except (OSError, ValueError, KeyError, TypeError):
        return of("")  # its job will say what is wrong with it


def digest(cells: Iterable[Mapping]) -> str:
    """SHA-256 of what a notebook's outputs depend on: kind, tags and source of its cells, and the files named there."""
    cells = [[cell["cell_type"], cell["metadata"].get("tags", []), cell["source"]] for cell in cells]
    total = hashlib.sha256(json.dumps(cells).encode())
    for path in of("\n".join(source for _, _, source in cells)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"\n{path.relative_to(paths.ROOT).as_posix()} {content}".encode())
    return total.hexdigest()


def _results(text: str) -> list[Path]:
    """Shipped records and checkpoints of the runs that a text names, and those behind the tables it asks for."""
    files = [*paths.RESULTS.glob("*.json"), *paths.CHECKPOINTS.glob("*.safetensors")]
    files = [path for path in files if path.name not in paths.MEASUREMENTS]  # whose names are ordinary words
    by_run: dict[str, list[Path]] = {}
    for path in files:
        by_run.setdefault(re.sub(r"-seed\d+$", "", path.stem), []).append(path)
    runs = [run for run in by_run if _names(text, run)]
    for run in runs:  # the list grows by those that each began with
        runs += {start for path in by_run[run] if (start := _start(path)) in by_run} - set(runs)
    named = [path for run in runs for path in by_run[run]]
    for function, name in zip(("benchmark", "compressed", "sampling_times"), paths.MEASUREMENTS, strict=True):
        if f"runs.{function}(" in text:
            named += paths.RESULTS.glob(name)
    if re.search(r"\bsweep\.\w+\(", text):
        named += paths.RESULTS.glob("permuted-*.json")
    return named


def _start(path: Path) -> str | None:
    """The run that a record's training began with."""
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("start") if path.suffix == ".json" else None
    except (OSError, ValueError, AttributeError):
        return None  # `pixellib check` says what is wrong with it


def _names(text: str, run: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(run)}(?![\w-])", text) is not None
