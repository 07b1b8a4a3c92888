"""The folder of fetched data: verified on every read, written atomically, safe for many processes."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock

# One part (train or test) of a data set: images uint8 (N, H, W, C) and labels uint8 (N,).
Arrays = tuple[np.ndarray, np.ndarray]
# A source fetches all parts of a data set, given a scratch folder that is removed afterwards.
Source = Callable[[Path], dict[str, Arrays]]


def cache_dir() -> Path:
    """Folder of fetched data: ``$PIXELLIB_DATA``, else ``pixellib`` in the user's cache folder."""
    if chosen := os.environ.get("PIXELLIB_DATA"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixellib"


def verify(what: object, data: bytes | np.ndarray, sha256: str) -> None:
    """Raise RuntimeError, naming ``what``, unless ``data`` (bytes or a contiguous array) has this SHA-256."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise RuntimeError(f"{what} is broken: the SHA-256 of its data is {found}, expected {sha256}")


def cached(name: str, part: str, sums: dict[str, tuple[str, str]], sources: dict[str, Source], by_hand: str) -> Arrays:
    """Return one part of data set ``name`` from the cache, which is filled or mended where need be.

    ``sums`` maps each part to the SHA-256 of its images and of its labels; ``sources`` are tried in order,
    and one that fails says why. Where all fail, FileNotFoundError gives their reasons and tells the reader
    what to do ``by_hand``.
    """
    folder = cache_dir() / name
    try:
        return read_part(folder / f"{part}.npz", *sums[part])
    except FileNotFoundError:
        pass
    except RuntimeError as error:
        say(f"{error}; fetching it again")
    with alone(folder):
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
                reasons.append(f"{title}: {one_line(error)}")
                say(f"{name}: {reasons[-1]}")
                continue
            for key, (images, labels) in parts.items():
                with atomic(folder / f"{key}.npz") as file:
                    np.savez(file, images=images, labels=labels)
            return parts[part]
    raise FileNotFoundError(f"{name} could not be had: {'; '.join(reasons)}. To supply it by hand, {by_hand}")


def read_part(path: Path, images_sha256: str, labels_sha256: str) -> Arrays:
    """Read and verify one cached part: OSError where there is none, RuntimeError where it is broken."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except OSError:
        raise
    except Exception as error:  # a broken archive fails in many ways, in zipfile, zlib or numpy
        raise RuntimeError(f"{path} is broken: {one_line(error)}") from error
    verify(path, images, images_sha256)
    verify(path, labels, labels_sha256)
    return images, labels


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, freed by the system when its holder dies; clear what a killed one left."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        for left in folder.glob("*.partial"):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        yield


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears as ``path`` once it is whole, and never otherwise."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
