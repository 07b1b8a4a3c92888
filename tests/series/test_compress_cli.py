"""`pixellib compress` and `decompress`: what users bring comes back, and what cannot be done is one line."""

import numpy as np
import pytest
import torch
from calling import call
from PIL import Image

from pixellib import coding
from pixellib.models import VAE, GatedPixelCNN
from pixellib.series import coded_files, runs


def small(self, profile, **_):
    torch.manual_seed(0)
    return GatedPixelCNN(1, (8, 8), num_layers=1, num_filters=4, kernel_size=3).eval()


def test_images_are_compressed_and_read_back(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(runs.Run, "load_finished", small)
    images = np.random.default_rng(0).integers(256, size=(3, 1, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "some.npz", images=images)
    code, out, _ = call(capsys, "compress", "gated-mnist", str(tmp_path / "some.npz"), str(tmp_path / "some.bin"))
    assert code == 0 and "3 images -> " in out and "bits per dimension" in out
    for target in ("again.npz", "a folder"):
        code, _, _ = call(capsys, "decompress", "gated-mnist", str(tmp_path / "some.bin"), str(tmp_path / target))
        assert code == 0
    np.save(tmp_path / "some.npy", images)
    code, _, _ = call(capsys, "compress", "gated-mnist", str(tmp_path / "some.npy"), str(tmp_path / "same.bin"))
    assert code == 0 and (tmp_path / "same.bin").read_bytes() == (tmp_path / "some.bin").read_bytes()
    assert (np.load(tmp_path / "again.npz")["images"] == images).all()
    assert sorted(p.name for p in (tmp_path / "a folder").iterdir()) == ["0.png", "1.png", "2.png"]
    code, _, _ = call(capsys, "compress", "gated-mnist", str(tmp_path / "a folder"), str(tmp_path / "folder.bin"))
    assert code == 0 and (tmp_path / "folder.bin").read_bytes() == (tmp_path / "some.bin").read_bytes()


def test_what_cannot_be_compressed_or_read_back_is_one_line_and_nothing_is_written(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(runs.Run, "load_finished", small)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "floats.npz", images=np.zeros((1, 1, 8, 8)))
    np.savez(tmp_path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    np.savez(tmp_path / "none.npz", images=np.zeros((0, 1, 8, 8), np.uint8))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"no picture")
    for mode in ("RGB", "I;16", "LA"):
        (tmp_path / mode).mkdir()
        Image.new(mode, (8, 8)).save(tmp_path / mode / "a.png")
    (tmp_path / "two").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "two" / "a.tif", save_all=True, append_images=[Image.new("L", (8, 8))])
    for source, reason in (
        ("nowhere.npz", "No such file"),
        ("nowhere.png", "No such file"),
        ("RGB/a.png", "has mode RGB and 1 frame"),
        ("two/a.tif", "has mode L and 2 frames"),
        ("empty", "holds no pictures"),
        ("broken.npz", "is no folder, picture (.png, "),
        ("floats.npz", "expected uint8 (N, C, H, W)"),
        ("two.npz", "holds 2 arrays"),
        ("none.npz", "0 of torch.uint8"),
        ("pictures", "is no picture that can be read"),
        *((mode, f"has mode {mode} and 1 frame; the run codes single pictures of mode L") for mode in ("RGB", "I;16")),
        ("LA", "has mode LA"),
        ("two", "has mode L and 2 frames"),
    ):
        code, _, err = call(capsys, "compress", "gated-mnist", str(tmp_path / source), str(tmp_path / "out"))
        assert code == 1 and reason in err and err.count("\n") == 1 and not (tmp_path / "out").exists()
    code, _, err = call(capsys, "decompress", "gated-mnist", str(tmp_path / "two.npz"), str(tmp_path / "out"))
    assert code == 1 and "not a file of compressed images" in err and not (tmp_path / "out").exists()
    code, _, err = call(capsys, "decompress", "gated-mnist", str(tmp_path / "two.npz"), str(tmp_path / "pictures"))
    assert code == 1 and "exists already" in err


@pytest.fixture
def picture(tmp_path):
    """A grey picture of 12 x 8 pixels, and its levels."""
    levels = np.random.default_rng(0).integers(256, size=(12, 8), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "me.png")
    return tmp_path / "me.png", levels


def test_a_single_picture_is_compressed_and_read_back_as_one(capsys, monkeypatch, tmp_path, picture):
    monkeypatch.setattr(runs.Run, "load_finished", small)
    path, levels = picture
    code, out, err = call(capsys, "compress", "gated-mnist", str(path), str(tmp_path / "me.pxl"))
    length = (tmp_path / "me.pxl").stat().st_size
    assert code == 0 and f"1 image -> {tmp_path / 'me.pxl'}, {length:,} bytes instead of 96, " in out
    assert "of them header and checksums; the rest is " in out
    assert "the images are 12 x 8, the run was trained on 8 x 8" in err and err.count("\n") == 1
    code, out, _ = call(capsys, "decompress", "gated-mnist", str(tmp_path / "me.pxl"), str(tmp_path / "again.png"))
    assert code == 0 and out == f"gated-mnist: 1 image -> {tmp_path / 'again.png'}\n"
    assert (np.asarray(Image.open(tmp_path / "again.png")) == levels).all()
    assert call(capsys, "decompress", "gated-mnist", str(tmp_path / "me.pxl"), str(tmp_path / "new"))[0] == 0
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["0.png"]
    Image.fromarray(levels[:8]).save(path)
    assert call(capsys, "compress", "gated-mnist", str(path), str(tmp_path / "me.pxl"))[2] == "", "the run's size"


def test_a_colour_picture_comes_back_in_colour(capsys, monkeypatch, tmp_path):
    levels = np.random.default_rng(0).integers(256, size=(4, 4, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "me.png")
    model = GatedPixelCNN(3, (4, 4), num_layers=1, num_filters=6, kernel_size=3).eval()
    monkeypatch.setattr(runs.Run, "load_finished", lambda *_, **__: model)
    assert call(capsys, "compress", "gated-cifar10-12x30", str(tmp_path / "me.png"), str(tmp_path / "c"))[0] == 0
    assert call(capsys, "decompress", "gated-cifar10-12x30", str(tmp_path / "c"), str(tmp_path / "again.png"))[0] == 0
    assert (np.asarray(Image.open(tmp_path / "again.png")) == levels).all()


@pytest.mark.parametrize(
    ("target", "reason"),
    [("two.png", "two.png is one picture, but there are 2 images"), ("two.jpg", "two.jpg cannot be written")],
)
def test_a_picture_that_could_not_hold_what_is_decoded_is_refused_before(capsys, monkeypatch, tmp_path, target, reason):
    monkeypatch.setattr(runs.Run, "load_finished", small)
    np.save(tmp_path / "two.npy", np.zeros((2, 1, 8, 8), np.uint8))
    assert call(capsys, "compress", "gated-mnist", str(tmp_path / "two.npy"), str(tmp_path / "two.pxl"))[0] == 0
    monkeypatch.setattr(coding, "decompress", None)
    code, _, err = call(capsys, "decompress", "gated-mnist", str(tmp_path / "two.pxl"), str(tmp_path / target))
    assert code == 1 and reason in err and not (tmp_path / target).exists()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_bar_counts_the_pixels_of_a_batch(monkeypatch, channels):
    """Each once, whether its channels are coded together or one after another; the model is then as it was."""
    model = GatedPixelCNN(channels, (8, 8), num_layers=1, num_filters=6, kernel_size=3).eval()
    x, bars = torch.zeros(3, channels, 4, 5, dtype=torch.uint8), []

    class Bar(coded_files.tqdm):
        def __init__(self, **options):
            super().__init__(**options)
            bars.append(self)

    monkeypatch.setattr(coded_files, "tqdm", Bar)
    with coded_files._progress(model, "compress", list(x.shape), batch_size=2) as of_coder:
        data = coding.compress(model, x, batch_size=2)
    assert not of_coder and [(bar.n, bar.total) for bar in bars] == [(40, 40)]
    assert "fill" not in vars(model) and data == coding.compress(model, x, batch_size=2)


def test_bits_back_coding_keeps_its_own_bar():
    model = VAE(1, (8, 8), num_latents=[4], num_filters=4)
    with coded_files._progress(model, "compress", [1, 1, 8, 8], 1) as of_coder:
        assert of_coder


def test_a_file_names_the_run_that_it_was_made_with(capsys, monkeypatch, tmp_path, picture):
    def of_its_own(self, profile, **_):
        torch.manual_seed(len(self.name) + len(profile))
        return GatedPixelCNN(1, (8, 8), num_layers=1, num_filters=4, kernel_size=3).eval()

    monkeypatch.setattr(runs.Run, "load_finished", of_its_own)
    file, out = tmp_path / "me.pxl", tmp_path / "again.png"
    assert call(capsys, "compress", "gated-mnist", str(picture[0]), str(file), "--profile", "quick")[0] == 0
    assert coding.header_of(file.read_bytes())["run"] == "gated-mnist"
    for wrong in (["gated-mnist-9x63", "--profile", "quick"], ["gated-mnist"]):
        code, _, err = call(capsys, "decompress", wrong[0], str(file), str(out), *wrong[1:])
        assert code == 1 and "the digests of the weights differ" in err and not out.exists()
        assert "it was made with run gated-mnist, profile quick" in err and err.count("\n") == 1
    assert call(capsys, "decompress", "gated-mnist", str(file), str(out), "--profile", "quick")[0] == 0


def test_files_without_a_name_are_read_as_before(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(runs.Run, "load_finished", small)
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    file, out = tmp_path / "old.pxl", tmp_path / "again.png"
    file.write_bytes(coding.compress(small(None, "quick"), images))
    assert call(capsys, "decompress", "gated-mnist", str(file), str(out))[0] == 0 and out.exists()
    other = GatedPixelCNN(1, (8, 8), num_layers=2, num_filters=4, kernel_size=3).eval()
    file.write_bytes(coding.compress(other, images))
    code, _, err = call(capsys, "decompress", "gated-mnist", str(file), str(out))
    assert code == 1 and err.endswith("the digests of the weights differ\n")


def test_a_header_that_compress_does_not_write_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(runs.Run, "load_finished", small)
    for header in ({}, {"images": [1, 1, 8, 8]}, {"images": [1, 1, 8], "batch_size": 1}, {"images": 3}):
        (tmp_path / "odd").write_bytes(coded_files.container.pack(header, []))
        code, _, err = call(capsys, "decompress", "gated-mnist", str(tmp_path / "odd"), str(tmp_path / "out"))
        assert code == 1 and "is not one that compress writes" in err and err.count("\n") == 1


def test_the_help_says_where_the_size_of_a_runs_images_is_to_be_seen(capsys):
    said = " ".join(call(capsys, "compress", "--help")[1].split())
    assert "`pixellib data` the size of its images" in said and "A picture, a folder of them" in said
