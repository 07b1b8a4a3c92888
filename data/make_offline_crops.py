"""How data/offline_crops/crops.png was made. Usage: make_offline_crops.py PHOTOS OUTPUT.png

PHOTOS is a folder with astronaut.png, coffee.png, chelsea.png, rocket.jpg (from scikit-image) and face.dat
(from SciPy); README.md beside this script gives versions, checksums and licences.
"""

import bz2
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SHORT_SIDE = 160  # of the photograph once reduced: a 32 x 32 crop then shows an eye, a spoon, a rocket's tip
CROP, STRIDE, COLUMNS = 32, 8, 16
# Upright bands of each photograph, as fractions of its width, and the crops cut from each. Bands do not
# overlap, so no pixel of a test crop was seen in training.
BANDS = [(0.0, 0.6, 64), (0.6, 0.8, 16), (0.8, 1.0, 16)]


def photographs(folder: Path) -> list[Image.Image]:
    names = ["astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg"]
    raccoon = np.frombuffer(bz2.decompress((folder / "face.dat").read_bytes()), np.uint8)
    images = [Image.open(folder / name).convert("RGB") for name in names]
    return [reduced(image) for image in [*images, Image.fromarray(raccoon.reshape(768, 1024, 3))]]


def reduced(image: Image.Image) -> Image.Image:
    factor = SHORT_SIDE / min(image.size)
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS)


def crops(image: Image.Image, start: float, stop: float, number: int) -> list[np.ndarray]:
    """``number`` crops of one band, spread evenly over all its positions on the grid of STRIDE pixels."""
    lefts = range(round(start * image.width), round(stop * image.width) - CROP + 1, STRIDE)
    positions = [(x, y) for x in lefts for y in range(0, image.height - CROP + 1, STRIDE)]
    chosen = [positions[i] for i in np.linspace(0, len(positions) - 1, number).round().astype(int)]
    return [np.asarray(image.crop((x, y, x + CROP, y + CROP))) for x, y in chosen]


def main(folder: str, output: str) -> None:
    images = photographs(Path(folder))
    tiles = np.stack([crop for band in BANDS for image in images for crop in crops(image, *band)])
    rows = len(tiles) // COLUMNS
    sheet = tiles.reshape(rows, COLUMNS, CROP, CROP, 3).swapaxes(1, 2).reshape(rows * CROP, COLUMNS * CROP, 3)
    Image.fromarray(sheet).save(output, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
