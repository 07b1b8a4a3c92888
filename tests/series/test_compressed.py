"""The record of files: another process decodes the same digits, and the numbers fit each other."""

import json

import numpy as np
import pytest
import torch

from pixellib.series import compressed, formats


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.setattr(compressed, "RECORD_HERE", tmp_path / "compressed.json")


def test_files_are_read_back_by_another_process_and_as_long_as_the_model_says(here):
    record = compressed.measure(["gated-mnist", "vae-dmol-mnist"], num=4)
    assert json.loads(compressed.RECORD_HERE.read_text()) == record
    exact, bound, *ordinary = record["rows"]
    assert exact["kind"] == "exact" and exact["num_images"] == 4
    assert exact["expected_bytes"] <= exact["code_bytes"] < 1.001 * exact["expected_bytes"] + 20
    assert exact["code_bytes"] < exact["bytes"] < exact["code_bytes"] + 400
    assert bound["kind"] == "lower bound" and bound["code_bytes"] < 1.2 * bound["expected_bytes"] + 500
    assert all(row["encode_seconds"] > 0 and row["decode_seconds"] > 0 for row in (exact, bound))
    assert {"gzip", "LZMA", "PNG", "WebP"} <= {row["name"] for row in ordinary}
    assert all(60 < row["bytes"] < 4 * 784 and row["kind"] == "format" for row in ordinary)


def test_a_format_that_restores_other_pixels_is_an_error(here, monkeypatch):
    lossy = formats.Format(lambda array: b"", lambda data, shape: np.zeros(shape, np.uint8))
    monkeypatch.setattr(formats, "formats", lambda: {"a lossy one": lossy})
    monkeypatch.setattr(compressed, "_model_row", lambda *args: {})
    with pytest.raises(RuntimeError, match="a lossy one does not restore what it encoded"):
        compressed.measure(["gated-mnist"], num=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", formats.formats())
def test_every_format_restores_what_it_encoded(name, channels):
    torch.manual_seed(0)
    array = formats.sheet_of(torch.randint(256, (7, channels, 5, 6), dtype=torch.uint8), columns=3)
    assert array.shape == (15, 18, channels) and not array[10:, 6:].any(), "two places of the last row are black"
    form = formats.formats()[name]
    assert np.array_equal(form.decode(form.encode(array), array.shape), array)


def test_a_process_that_finds_other_images_is_an_error(here, monkeypatch):
    def elsewhere(command, **options):
        out = command[command.index("gated-mnist") + 2]
        np.savez(out, images=np.zeros((1, 1, 28, 28), "uint8"))

    monkeypatch.setattr(compressed.subprocess, "run", elsewhere)
    with pytest.raises(RuntimeError, match="another process decoded other images from the file of gated-mnist"):
        compressed.measure(["gated-mnist"], num=1)
    assert not compressed.RECORD_HERE.exists()
