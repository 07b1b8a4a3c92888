"""Where the repository keeps what runs leave behind."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = ROOT / "data" / "checkpoints"  # shipped
RESULTS = ROOT / "figures" / "results"  # shipped
MEASUREMENTS = ("bench.json", "compressed.json", "sampling_times.json")  # in RESULTS: hardware and rows, of no run
WORK = Path(os.environ.get("PIXELLIB_RUNS") or ROOT / "build" / "runs").expanduser().absolute()  # trained here


def shorten(path: Path) -> str:
    """A path as a reader wants it: relative to the project where it lies in it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def library() -> list[Path]:
    """The modules of the library, without the series and without what editors keep in hidden folders."""
    package = ROOT / "pixellib"
    modules = (path.relative_to(package) for path in package.rglob("*.py"))
    return sorted(package / path for path in modules if path.parts[0] != "series" and not _is_hidden(path))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
