"""The folder of fetched data: verified on every read, written atomically, safe for many processes."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from pixellib import files

# One part (train or test) of a data set: images uint8 (N, H, W, C) and labels uint8 (N,).
Arrays = tuple[np.ndarray, np.ndarray]
# A source fetches all parts of a data set, given a scratch folder that is removed afterwards.
Source = Callable[[Path], dict[str, Arrays]]


def cache_dir() -> Path:
    """Folder of fetched data: `$PIXELLIB_DATA`, else `pixellib` in the user's cache folder."""
    if chosen := os.environ.get("PIXELLIB_DATA"):
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixellib"


def verify(what: object, data: bytes | np.ndarray, sha256: str) -> None:
    """Raise RuntimeError, naming `what`, unless `data` (bytes or a contiguous array) has this SHA-256."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise RuntimeError(f"{what} is broken: the SHA-256 of its data is {found}, expected {sha256}")


def cached(name: str, part: str, sums: dict[str, tuple[str, str]], sources: dict[str, Source], by_hand: str) -> Arrays:
    """Return one part of data set `name` from the cache, which is filled or mended where need be.

    `sums` maps each part to the SHA-256 of its images and of its labels; `sources` are tried in order,
    and one that fails says why. Where all fail, FileNotFoundError gives their reasons and tells the reader
    what to do `by_hand`.
    """
    folder = cache_dir() / name
    try:
        return read_part(folder / f"{part}.npz", *sums[part])
    except FileNotFoundError:
        pass
    except RuntimeError as error:
        report(f"{error}; fetching it again")
    with locked_folder(folder):
        with suppress(FileNotFoundError, RuntimeError):  # while we waited, another process may have fetched it
            return read_part(folder / f"{part}.npz", *sums[part])
        reasons = []
        for title, source in sources.items():
            try:
                with tempfile.TemporaryDirectory(suffix=".partial", dir=folder) as scratch:
                    parts = source(Path(scratch))
                for key, (images, labels) in parts.items():
                    verify(f"images of {name} {key}", images, sums[key][0])
                    verify(f"labels of {name} {key}", labels, sums[key][1])
            except Exception as error:  # whatever went wrong with this source, the next may do
                reasons.append(f"{title}: {reason(error)}")
                report(f"{name}: {reasons[-1]}")
                continue
            for key, (images, labels) in parts.items():
                files.write_atomically(folder / f"{key}.npz", partial(write_part, images, labels))
            return parts[part]
    raise FileNotFoundError(f"{name} could not be fetched: {'; '.join(reasons)}. To supply it by hand, {by_hand}")


def read_part(path: Path, images_sha256: str, labels_sha256: str) -> Arrays:
    """Read and verify one cached part: OSError where there is none, RuntimeError where it is broken."""
    if (kind := files.kind_of_file(path)) not in ("file", "missing"):
        raise RuntimeError(f"{path} is broken: it is a {kind}, not a file")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except OSError:
        raise
    except Exception as error:  # a broken archive fails in many ways, in zipfile, zlib or numpy
        raise RuntimeError(f"{path} is broken: {reason(error)}") from error
    verify(path, images, images_sha256)
    verify(path, labels, labels_sha256)
    return images, labels


def write_part(images: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Write one part, for `read_part`."""
    with open(path, "wb") as file:  # numpy appends .npz to a name that has another ending
        np.savez(file, images=images, labels=labels)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, waiting for its holder, and remove the downloads that a killed one left half done."""
    with files.locked(folder / ".lock"):
        for leftover in folder.glob("*.partial"):
            shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        yield


def report(message: str) -> None:
    """Print a message for the user where it does not mix with results."""
    print(message, file=sys.stderr, flush=True)


def reason(error: Exception) -> str:
    """An error's message in one line."""
    return " ".join(str(error).split()) or type(error).__name__
