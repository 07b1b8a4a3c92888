"""A bit flipped in any file that ships is noticed, and the file is named."""

import random
from pathlib import Path

import pytest

from pixellib import checkpoints, coding, data
from pixellib.data import sources
from pixellib.models import GatedPixelCNN
from pixellib.series import paths

EMBEDDED = [
    "mnist/t10k-images-idx3-ubyte.gz",
    "mnist/t10k-labels-idx1-ubyte.gz",
    "mnist/train-images-idx3-ubyte.gz",
    "mnist/train-labels-idx1-ubyte.gz",
    "offline_crops/crops.png",
    "austen/train.txt.xz",
    "austen/test.txt.xz",
]
CHECKPOINTS = sorted(path.name for path in paths.CHECKPOINTS.glob("*.safetensors"))


def flip(content: bytes, moments: random.Random, first: int = 0) -> bytes:
    """The content with one bit, of a byte not before `first`, turned over."""
    place = moments.randrange(first, len(content))
    return content[:place] + bytes([content[place] ^ 1 << moments.randrange(8)]) + content[place + 1 :]


def test_every_embedded_file_is_listed():
    found = {f"{path.parent.name}/{path.name}" for path in sources.EMBEDDED.glob("*/*")}
    assert found - {f"checkpoints/{name}" for name in CHECKPOINTS} == set(EMBEDDED)


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_flipped_bit_of_embedded_data_is_noticed(name, tmp_path, monkeypatch, survived):
    for path in sources.EMBEDDED.glob("*/*"):
        if path.parent.name != "checkpoints":
            copy = tmp_path / path.parent.name / path.name
            copy.parent.mkdir(exist_ok=True)
            copy.symlink_to(path)
    spoilt = tmp_path / name
    content = spoilt.read_bytes()
    spoilt.unlink()
    monkeypatch.setattr(sources, "EMBEDDED", tmp_path)
    split = "train" if "train" in name else "test"
    harmless = 10 if name.endswith(".gz") else 0  # the head of a gzip file has bytes that say nothing
    for number in range(3):
        spoilt.write_bytes(flip(content, random.Random(number), harmless))
        with pytest.raises(RuntimeError, match="is broken"):
            data.load(Path(name).parent.name, split)
    survived("bit flipped in embedded data", 3)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_flipped_bit_of_a_checkpoint_is_noticed(name, tmp_path, survived):
    content, spoilt = (paths.CHECKPOINTS / name).read_bytes(), tmp_path / name
    for number in range(3):
        spoilt.write_bytes(flip(content, random.Random(number)))
        with pytest.raises((RuntimeError, ValueError), match=name):
            checkpoints.load(spoilt)
    survived("bit flipped in a checkpoint", 3)


def test_flipped_bits_of_a_compressed_file_are_noticed(survived):
    model = GatedPixelCNN(1, (6, 6), num_layers=1, num_filters=4, kernel_size=3)
    images = data.load("mnist", "test")[0][:4, :, 10:16, 10:16]
    content = coding.compress(model, images)
    for number in range(20):
        with pytest.raises(coding.CodingError):
            coding.decompress(model, flip(content, random.Random(number)))
    survived("bit flipped in a compressed file", 20)
