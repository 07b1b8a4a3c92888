"""Data sets: the embedded ones as published, the splits as stated, and bad data refused by name."""

import gzip
import hashlib
import re
import shutil

import numpy as np
import pytest
import torch
from pictures import claims

from pixellib.data import NAMES, SPLITS, datasets, describe, load, sources


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELLIB_DATA", str(tmp_path / "cache"))


@pytest.fixture
def own_copy(tmp_path, monkeypatch):
    """A copy of the embedded test files, free to be spoilt."""
    for name in (
        "mnist/t10k-images-idx3-ubyte.gz",
        "mnist/t10k-labels-idx1-ubyte.gz",
        "offline_crops/crops.png",
        "austen/test.txt.xz",
    ):
        target = tmp_path / "data" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sources.EMBEDDED / name, target)
    monkeypatch.setattr(sources, "EMBEDDED", tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("name", ["mnist", "offline_crops", "austen"])
def test_embedded_data_have_the_shapes_and_sizes_that_describe_states(name):
    (stated,) = [row for row in describe() if row["name"] == name]
    for split in SPLITS:
        images, labels = load(name, split)
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64
        assert images.shape == (stated["sizes"][split], *stated["shape"])
        assert labels.shape == (stated["sizes"][split],)
        assert images.is_contiguous()
        if name != "austen":
            assert images.min() == 0 and images.max() == 255


def test_the_text_is_that_of_the_novels_piece_by_piece():
    train, validation, test = (bytes(load("austen", split)[0].flatten().tolist()) for split in SPLITS)
    assert train.startswith(b"EMMA\n\nBy Jane Austen") and b"It is a truth universally acknowledged" in train
    assert b"NORTHANGER ABBEY\n" in train[-256:] + validation[:256], "which is all of the validation split"
    assert test.startswith(b"Persuasion") and b"Sir Walter Elliot, of Kellynch Hall" in test


def test_mnist_splits_are_the_published_parts_with_validation_at_the_end():
    raw = gzip.decompress((sources.EMBEDDED / "mnist/train-images-idx3-ubyte.gz").read_bytes())
    published = torch.frombuffer(bytearray(raw[16:]), dtype=torch.uint8).view(60_000, 1, 28, 28)
    (train, train_labels), (validation, validation_labels) = (
        load("mnist", "train"),
        load("mnist", "validation"),
    )
    assert torch.equal(train, published[:50_000])
    assert torch.equal(validation, published[50_000:])
    # Counts of the ten digits in the published training labels.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.cat([train_labels, validation_labels]).bincount().tolist() == counts


def test_the_caller_owns_what_load_returns():
    images, _ = load("mnist", "test")
    before = images[0].clone()
    images.zero_()
    assert torch.equal(load("mnist", "test")[0][0], before)


def test_offline_crops_hold_every_photograph_in_every_split():
    for split, per_photograph in zip(SPLITS, (64, 16, 16), strict=True):
        _, labels = load("offline_crops", split)
        assert labels.bincount().tolist() == [per_photograph] * 5


def test_no_part_of_an_evaluation_crop_was_seen_in_training():
    def patches(split):
        images = load("offline_crops", split)[0]
        windows = images.unfold(2, 16, 1).unfold(3, 16, 1).permute(0, 2, 3, 1, 4, 5)
        return {patch.tobytes() for patch in windows.reshape(-1, 3 * 16 * 16).numpy()}

    train, validation, test = (patches(split) for split in SPLITS)
    assert not train & test and not train & validation and not validation & test


def test_readme_lists_every_embedded_file_with_its_checksum():
    text = (sources.EMBEDDED / "README.md").read_text()
    listed = dict(re.findall(r"^\| `([\w./-]+)` \| [\d,]+ \| `([0-9a-f]{64})` \|$", text, re.MULTILINE))
    files = [p for folder in ("mnist", "offline_crops", "austen") for p in (sources.EMBEDDED / folder).iterdir()]
    found = {str(p.relative_to(sources.EMBEDDED)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    assert listed == found
    # The checksums that loading compares with are stated too.
    sums = [s for pair in datasets.MNIST_SUMS.values() for s in pair]
    sums += [s for pair in datasets.CIFAR10_SUMS.values() for s in pair]
    assert [s for s in [*sums, *datasets.AUSTEN_SUMS.values(), datasets.OFFLINE_CROPS_SUM] if s not in text] == []


def test_embedded_mnist_is_compressed_without_name_or_time():
    # So that compressing the published files again gives the same bytes.
    for path in (sources.EMBEDDED / "mnist").iterdir():
        assert path.read_bytes()[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


def test_unknown_names_are_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match="unknown data set 'minst'") as error:
        load("minst", "train")
    assert all(name in str(error.value) for name in NAMES)
    with pytest.raises(ValueError, match="unknown split 'valid'; choose from train, validation, test"):
        load("mnist", "valid")
    with pytest.raises(ValueError, match="root= is for imagenet64"):
        load("mnist", "test", root="somewhere")


def truncate(data):
    return data[: len(data) // 2]


def flip_a_bit(data):
    return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


def other_content(data):
    return gzip.compress(b"\0\0\x08\x01\0\0\0\x02ab")


@pytest.mark.parametrize("spoil", [truncate, flip_a_bit, other_content, lambda data: b""])
@pytest.mark.parametrize(
    "name, file",
    [
        ("mnist", "mnist/t10k-images-idx3-ubyte.gz"),
        ("offline_crops", "offline_crops/crops.png"),
        ("austen", "austen/test.txt.xz"),
    ],
)
def test_a_spoilt_embedded_file_is_refused_by_name(own_copy, name, file, spoil):
    load(name, "test")
    path = own_copy / file
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(RuntimeError, match=f"{re.escape(str(path))} is broken: ") as error:
        load(name, "test")
    assert "\n" not in str(error.value)


def test_a_sheet_of_crops_that_claims_to_be_huge_is_refused_before_it_is_decoded(own_copy):
    (own_copy / "offline_crops/crops.png").write_bytes(claims(30_000, 30_000))
    with pytest.raises(
        RuntimeError, match=r"crops\.png is broken: .* claims far too many pixels; expected 512x960 RGB"
    ):
        load("offline_crops", "test")


def test_a_missing_embedded_file_is_named_with_the_remedy(own_copy):
    (own_copy / "mnist/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte.gz is missing; .*pip install -e \."):
        load("mnist", "test")


def test_describe_names_every_data_set_and_what_is_here(tmp_path):
    rows = {row["name"]: row for row in describe()}
    assert tuple(rows) == NAMES
    assert all(row["licence"] and row["source"] for row in rows.values())
    here = {name for name, row in rows.items() if row["present"]}
    assert here == {"mnist", "offline_crops", "austen"}  # the cache is empty
    assert rows["cifar10"]["sizes"] == {"train": 45_000, "validation": 5_000, "test": 10_000}
    assert not (tmp_path / "cache").exists()  # and stays so: nothing was fetched
    (tmp_path / "cache/cifar10").mkdir(parents=True)
    for part in ("train", "test"):
        (tmp_path / f"cache/cifar10/{part}.npz").touch()
    assert {row["name"] for row in describe() if row["present"]} == here | {"cifar10"}


def test_fetched_data_sets_are_split_and_turned_to_channels_first(monkeypatch):
    rng = np.random.default_rng(0)
    arrays = {
        "train": (
            rng.integers(256, size=(50_000, 2, 2, 3), dtype=np.uint8),
            np.arange(50_000, dtype=np.uint8) % 10,
        ),
        "test": (rng.integers(256, size=(10_000, 2, 2, 3), dtype=np.uint8), np.zeros(10_000, np.uint8)),
    }
    monkeypatch.setattr(datasets, "cached", lambda name, part, *args, **kwargs: arrays[part])
    images, labels = arrays["train"]
    for split, rows in (("train", slice(0, 45_000)), ("validation", slice(45_000, 50_000))):
        x, y = load("cifar10", split)
        assert x.is_contiguous() and torch.equal(x.permute(0, 2, 3, 1), torch.from_numpy(images[rows]))
        assert torch.equal(y, torch.from_numpy(labels[rows]).long())
    assert len(load("cifar10", "test")[0]) == 10_000
