"""The named runs of the series, and what was recorded of them."""

import difflib
from collections.abc import Mapping
from pathlib import Path

from pixellib import files
from pixellib.series import paths
from pixellib.series.catalogue import RUNS
from pixellib.series.run import PROFILES, Plan, Run

__all__ = ["PROFILES", "Plan", "Run", "benchmark", "curve", "get", "names", "record", "record_path"]

_KEYS = ("name", "profile", "seed", "identity", "identity_hash", "history", "results")


def names() -> list[str]:
    """All runs, in the order of the notebooks."""
    return list(RUNS)


def get(name: str) -> Run:
    """The run of that name. ValueError for another name, with those that are like it.

    >>> get("vae-dmol").title
    'VAE, mixture of logistics'
    """
    if name not in RUNS:
        alike = difflib.get_close_matches(name, RUNS, n=5) or list(RUNS)[:5]
        raise ValueError(f"unknown run {name!r}; there are {', '.join(alike)} and others: `pixellib runs` lists them")
    return RUNS[name]


def record_path(name: str, seed: int = 0) -> Path:
    """Where the record of a run, trained with that seed, is shipped."""
    return get(name).record_path(seed)


def record(name: str, seed: int = 0) -> dict:
    """The shipped record of a run: what was trained, its cost and its results.

    FileNotFoundError if it has not been recorded, RuntimeError if the file is broken or another training's.

    >>> record("vae-dmol")["identity"]["settings"]["steps"]
    5000
    """
    path = record_path(name, seed)
    if not path.exists():
        command = f"pixellib train {name}" + f" --seed {seed}" * (seed > 0)
        raise FileNotFoundError(f"run {name} has no record yet; train it with: {command}")
    found = files.read_json(path, _KEYS)
    if (found["name"], found["seed"]) != (name, seed):
        raise RuntimeError(f"{path} is the record of {found['name']}, seed {found['seed']}")
    return found


def curve(of: Mapping) -> list[dict]:
    """The history of a training, after the histories of those whose weights it began with: their rows, each with
    "images_seen", counted from the first training.

    >>> [row["images_seen"] for row in curve(record("pixelcnnpp-mnist-softmax-part2"))]
    [19200, 38400, 57600, 76800, 96000, 115200]
    """
    before = curve(record(of["start"], of["seed"])) if of["start"] else []
    first, batch = of["start_images_seen"], of["identity"]["settings"]["batch_size"]
    return before + [{**row, "images_seen": first + row["step"] * batch} for row in of["history"]]


def benchmark() -> dict:
    """The shipped record of `make bench`: hardware and rows. FileNotFoundError if there is none."""
    return files.read_json(paths.RESULTS / "bench.json", ("hardware", "rows"))


def sampling_times() -> dict:
    """The shipped record of `pixellib sampling-times`: hardware, num_images, and a row for each model.
    FileNotFoundError.
    """
    return files.read_json(paths.RESULTS / "sampling_times.json", ("hardware", "num_images", "rows"))


def compressed() -> dict:
    """The shipped record of `pixellib compressed`: hardware, and a row for each model and format. FileNotFoundError."""
    return files.read_json(paths.RESULTS / "compressed.json", ("hardware", "rows"))
