"""The reader's own folder of images: decoded once, mapped, and wrong files named."""

import os

import numpy as np
import pytest
import torch
from pictures import claims
from PIL import Image

from pixellib.data import load, sources


def write(path, seed, size=(64, 64), mode="RGB"):
    pixels = np.random.default_rng(seed).integers(256, size=(size[1], size[0], len(mode)), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze()).save(path)
    return torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELLIB_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache/decoded"


@pytest.fixture
def root(tmp_path, store):
    """25 training images written in another order than that of their names, and 3 to test."""
    for i in reversed(range(25)):
        write(tmp_path / f"images/train/train_64x64/{i:04}.png", seed=i)
    for i in range(3):
        write(tmp_path / f"images/valid/any name/{i}.PNG", seed=100 + i)
    (tmp_path / "images/train/train_64x64/notes.txt").write_text("no image")
    return tmp_path / "images"


def test_splits_follow_the_order_of_names(root):
    expected = torch.stack([write(root.parent / "one.png", seed=i) for i in range(25)])
    train, labels = load("imagenet64", "train", root=root)
    assert train.dtype == torch.uint8 and train.is_contiguous()
    assert torch.equal(train, expected[:22])  # the last tenth, rounded up, is validation
    assert torch.equal(load("imagenet64", "validation", root=root)[0], expected[22:])
    assert len(load("imagenet64", "test", root=root)[0]) == 3
    assert labels.dtype == torch.int64 and labels.tolist() == [0] * 22


def test_validation_is_the_last_ten_thousand_of_a_large_folder(root, monkeypatch):
    large = np.broadcast_to(np.zeros((), np.uint8), (1_281_149, 3, 64, 64))
    monkeypatch.setattr(sources, "image_folder", lambda folder, size: large)
    monkeypatch.setattr(torch, "from_numpy", lambda array: array)
    assert len(load("imagenet64", "train", root=root)[0]) == 1_271_149
    assert len(load("imagenet64", "validation", root=root)[0]) == 10_000


def test_the_default_folder_lies_in_the_cache(root):
    (root.parent / "cache").mkdir()
    root.rename(root.parent / "cache/imagenet64")
    assert len(load("imagenet64", "test")[0]) == 3


def test_jpeg_files_are_read_too(root):
    Image.new("RGB", (64, 64), (200, 30, 40)).save(root / "valid/any name/4.jpg")
    images, _ = load("imagenet64", "test", root=root)
    assert len(images) == 4
    assert (images[3].float().mean((1, 2)) - torch.tensor([200.0, 30, 40])).abs().max() < 3


def test_images_are_decoded_once_until_the_folder_changes(root, store, monkeypatch):
    before, _ = load("imagenet64", "test", root=root)
    (first,) = store.glob("*.npy")
    with monkeypatch.context() as patch:
        patch.setattr(sources, "decode", None)  # decoding again would fail
        assert torch.equal(load("imagenet64", "test", root=root)[0], before)
    added = write(root / "valid/any name/9.png", seed=9)
    after, _ = load("imagenet64", "test", root=root)
    assert torch.equal(after, torch.cat([before, added[None]]))
    (second,) = store.glob("*.npy")  # the outdated copy is gone
    assert second != first


def test_writing_to_the_images_leaves_the_cache_alone(root):
    images, _ = load("imagenet64", "test", root=root)
    before = images.clone()
    images.zero_()
    assert torch.equal(load("imagenet64", "test", root=root)[0], before)


def test_a_truncated_cache_is_decoded_again(root, store):
    before = load("imagenet64", "test", root=root)[0].clone()
    (file,) = store.glob("*.npy")
    for size in (file.stat().st_size - 1, 50, 0):
        file.write_bytes(file.read_bytes()[:size])
        assert torch.equal(load("imagenet64", "test", root=root)[0], before)


@pytest.mark.parametrize("where", [-1, 20_000, 100, 0])
def test_a_flipped_byte_in_the_cache_is_noticed_said_and_mended(root, store, capsys, where):
    before = load("imagenet64", "test", root=root)[0].clone()
    (file,) = store.glob("*.npy")
    content = bytearray(file.read_bytes())
    content[where] ^= 1
    file.write_bytes(content)
    assert torch.equal(load("imagenet64", "test", root=root)[0], before)
    assert f"{file} is broken: its SHA-256 is" in capsys.readouterr().err


def test_a_cache_without_its_digest_is_decoded_again(root, store):
    load("imagenet64", "test", root=root)
    (digest,) = store.glob("*.sha256")
    before = digest.read_text()
    digest.unlink()
    load("imagenet64", "test", root=root)
    assert digest.read_text() == before


def test_the_cache_is_verified_once_per_process(root):
    """Reading 16 GB for each split would take minutes."""
    load("imagenet64", "train", root=root)
    hits = sources.verify_file.cache_info().hits
    load("imagenet64", "validation", root=root)
    assert sources.verify_file.cache_info().hits == hits + 1


@pytest.mark.parametrize(
    "size, mode, found",
    [((64, 63), "RGB", "64x63 RGB"), ((64, 64), "L", "64x64 L"), ((64, 64), "RGBA", "64x64 RGBA")],
)
def test_an_image_of_another_size_or_mode_is_named(root, store, size, mode, found):
    path = root / "valid/any name/1b.png"
    write(path, seed=0, size=size, mode=mode)
    with pytest.raises(ValueError) as error:
        load("imagenet64", "test", root=root)
    assert str(error.value) == f"{path} is {found}; expected 64x64 RGB"
    assert {p.name for p in store.iterdir()} <= {".lock"}  # nothing half-written
    path.unlink()
    assert len(load("imagenet64", "test", root=root)[0]) == 3


@pytest.mark.parametrize("keep", [0, 30, 60, 6000])
def test_a_file_that_cannot_be_decoded_is_named(root, keep):
    path = root / "valid/any name/1.PNG"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RuntimeError, match=r"any name/1\.PNG cannot be decoded: ") as error:
        load("imagenet64", "test", root=root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("side", [100, 30_000, 100_000])
def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded(root, side):
    path = root / "valid/any name/1.PNG"
    path.write_bytes(claims(side, side))
    with pytest.raises(ValueError, match=r"1\.PNG (is 100x100 RGB|claims far too many pixels); expected 64x64 RGB"):
        load("imagenet64", "test", root=root)


def test_a_pipe_among_the_images_is_refused_instead_of_waited_for(root):
    os.mkfifo(root / "valid/any name/5.png")
    with pytest.raises(RuntimeError, match=r"5\.png cannot be decoded: it is a pipe"):
        load("imagenet64", "test", root=root)


def test_folders_that_do_not_fit_are_named(root):
    with pytest.raises(FileNotFoundError, match=r"nowhere is missing; .* train and valid"):
        load("imagenet64", "train", root=root / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"train/valid is missing"):
        load("imagenet64", "test", root=root / "train")
    for path in (root / "valid/any name").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"any name holds no images; expected .png, .jpg or .jpeg files"):
        load("imagenet64", "test", root=root)
    (root / "valid/another").mkdir()
    with pytest.raises(ValueError, match=r"valid has 2 sub-folders; expected one"):
        load("imagenet64", "test", root=root)
    (root / "valid/another").rmdir()
    (root / "valid/any name").rmdir()
    with pytest.raises(FileNotFoundError, match=r"valid has no sub-folder; expected one"):
        load("imagenet64", "test", root=root)
