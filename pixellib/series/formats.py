"""Ordinary ways to store pictures without loss, beside which the files of notebook 12 are put."""

import gzip
import io
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Format:
    """encode: of an array, uint8 (H, W, C), to bytes; decode: of these bytes, and the array's shape, back."""

    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes, tuple[int, ...]], np.ndarray]
    of_pictures: bool = True  # or of any bytes


def formats() -> dict[str, Format]:
    """By name. JPEG XL is left out where the package pillow-jxl-plugin is not installed."""
    found = {
        "gzip": _of_bytes(partial(gzip.compress, compresslevel=9), gzip.decompress),
        "LZMA": _of_bytes(partial(lzma.compress, preset=9 | lzma.PRESET_EXTREME), lzma.decompress),
        "PNG": _of_pictures(format="PNG", optimize=True),
        "WebP": _of_pictures(format="WEBP", lossless=True, method=6, quality=100),
    }
    try:
        import pillow_jxl  # noqa: F401
    except ImportError:
        return found
    return found | {"JPEG XL": _of_pictures(format="JXL", lossless=True, effort=9)}


def sheet_of(images: Tensor, columns: int = 20) -> np.ndarray:
    """Images, uint8 (N, C, H, W), side by side: uint8 (H', W', C), black where the last row is not full.

    >>> sheet_of(torch.zeros(5, 3, 4, 4, dtype=torch.uint8), columns=2).shape
    (12, 8, 3)
    """
    blank = images.new_zeros(-len(images) % columns, *images.shape[1:])
    rows = torch.cat([images, blank]).unflatten(0, (-1, columns))  # rows, columns, C, H, W
    return rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).numpy()


def _of_bytes(pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes]) -> Format:
    return Format(
        lambda array: pack(array.tobytes()),
        lambda data, shape: np.frombuffer(unpack(data), np.uint8).reshape(shape),
        of_pictures=False,
    )


def _of_pictures(**options) -> Format:
    def encode(array: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(file, **options)
        return file.getvalue()

    def decode(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
        picture = Image.open(io.BytesIO(data)).convert("L" if shape[-1] == 1 else "RGB")
        return np.asarray(picture).reshape(shape)

    return Format(encode, decode)
