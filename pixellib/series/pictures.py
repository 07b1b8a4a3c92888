"""Images that users bring: a picture, a folder of pictures of one size, or an .npy or .npz file."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pixellib import files

SUFFIXES = (".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")


def read(path: Path, channels: int) -> torch.Tensor:
    """Images uint8 (N, C, H, W): of a picture, of a folder's pictures in the order of their names, or of an .npy or
    .npz file's only array, (N, C, H, W), or (N, H, W) if C = 1. Pictures are read as they are, so their mode must be
    that of C channels.

    FileNotFoundError where there is nothing, ValueError for files that hold something else.
    """
    if path.is_dir():
        paths = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise ValueError(f"{path} holds no pictures ({', '.join(SUFFIXES)})")
        images = [_read_picture(p, channels) for p in paths]
        if len({image.shape for image in images}) > 1:
            raise ValueError(f"the pictures in {path} are not all of one size")
        return torch.from_numpy(np.stack(images))
    if path.suffix.lower() in SUFFIXES:
        return torch.from_numpy(np.stack([_read_picture(path, channels)]))
    try:
        images = np.load(path, allow_pickle=False)
        if isinstance(images, np.lib.npyio.NpzFile):
            with images as arrays:
                names = arrays.files
                images = arrays[names[0]] if len(names) == 1 else None
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever a broken file raises, the answer is the same
        raise ValueError(
            f"{path} is no folder, picture ({', '.join(SUFFIXES)}), .npy or .npz file that can be read"
        ) from error
    if images is None:
        raise ValueError(f"{path} holds {len(names)} arrays; expected one")
    images = images[:, None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"{path} holds {images.dtype} {images.shape}; expected uint8 (N, C, H, W)")
    return torch.from_numpy(images)


def write(path: Path, images: torch.Tensor) -> None:
    """Images uint8 (N, C, H, W) as an .npz file or, if it is one with C = 1 or 3, a PNG file, where the path says so,
    else as PNG files in a new folder, which appears when it is whole. ValueError: see `check_target`.
    """
    check_target(path, len(images))
    if path.suffix.lower() == ".npz":
        files.write_atomically(path, lambda temporary: _save(temporary, images.numpy()))
        return
    if path.suffix.lower() == ".png":
        files.write_atomically(path, lambda temporary: _picture_of(images[0]).save(temporary, "PNG"))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(images) - 1))
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        whole = Path(scratch) / path.name
        whole.mkdir()
        for number, image in enumerate(images):
            _picture_of(image).save(whole / f"{number:0{digits}}.png")
        whole.rename(path)


def check_target(path: Path, num_images: int = 1) -> None:
    """ValueError for a path that `write` cannot write so many images to: one PNG file holds one, a folder must be new,
    and nothing is written as a picture of another format, of which some lose what was decoded.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES and suffix != ".png":
        raise ValueError(f"{path} cannot be written; name a .png or .npz file or a new folder")
    if suffix == ".png" and num_images > 1:
        raise ValueError(f"{path} is one picture, but there are {num_images} images; name an .npz file or a new folder")
    kind = files.kind_of_file(files.check_path(path))
    if kind != "missing" and not (kind == "file" and suffix in (".npz", ".png")):
        raise ValueError(f"{path} exists already; name a .png or .npz file or a new folder")


def _picture_of(image: torch.Tensor) -> Image.Image:
    """The picture of an image uint8 (C, H, W), C = 1 or 3."""
    array = image.permute(1, 2, 0).numpy()
    return Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)


def _read_picture(path: Path, channels: int) -> np.ndarray:
    """uint8 (C, H, W)."""
    try:
        with Image.open(path) as picture:
            mode, num_frames, array = picture.mode, getattr(picture, "n_frames", 1), np.asarray(picture)
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever a broken file raises, the answer is the same
        raise ValueError(f"{path} is no picture that can be read: {error}") from error
    expected = "L" if channels == 1 else "RGB"
    if mode != expected or num_frames > 1:
        raise ValueError(
            f"{path} has mode {mode} and {num_frames} frame{'s' * (num_frames > 1)}; the run codes single pictures of "
            f"mode {expected}, so convert it first"
        )
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _save(path: Path, images: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, images=images)
