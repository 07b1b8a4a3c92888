"""Images that users bring: an .npy or .npz file, or a folder of pictures of one size."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pixellib import files

SUFFIXES = (".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")


def read(path: Path, channels: int) -> torch.Tensor:
    """Images uint8 (N, C, H, W): of a folder's pictures, in the order of their names, or of an .npy or .npz file's only
    array, (N, C, H, W), or (N, H, W) if C = 1. Pictures are read as they are, so their mode must be that of C channels.

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
    try:
        images = np.load(path, allow_pickle=False)
        if isinstance(images, np.lib.npyio.NpzFile):
            with images as arrays:
                names = arrays.files
                images = arrays[names[0]] if len(names) == 1 else None
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever a broken file raises, the answer is the same
        raise ValueError(f"{path} is neither a folder nor an .npy or .npz file that can be read") from error
    if images is None:
        raise ValueError(f"{path} holds {len(names)} arrays; expected one")
    images = images[:, None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"{path} holds {images.dtype} {images.shape}; expected uint8 (N, C, H, W)")
    return torch.from_numpy(images)


def write(path: Path, images: torch.Tensor) -> None:
    """Images uint8 (N, C, H, W) as an .npz file if the path says so, else as PNG files in a new folder, C = 1 or 3.

    The folder appears when it is whole. FileExistsError where one is there already.
    """
    if path.suffix == ".npz":
        files.write_atomically(path, lambda temporary: _save(temporary, images.numpy()))
        return
    if path.exists():
        raise FileExistsError(f"{path} exists already")
    path.parent.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(images) - 1))
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        whole = Path(scratch) / path.name
        whole.mkdir()
        for number, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
                whole / f"{number:0{digits}}.png"
            )
        whole.rename(path)


def _read_picture(path: Path, channels: int) -> np.ndarray:
    """uint8 (C, H, W)."""
    try:
        with Image.open(path) as picture:
            mode, num_frames, array = picture.mode, getattr(picture, "n_frames", 1), np.asarray(picture)
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
