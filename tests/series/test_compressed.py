"""The record of files: another process decodes the same digits, and the numbers fit each other."""

import json

import pytest

from pixellib.series import compressed


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.setattr(compressed, "RECORD_HERE", tmp_path / "compressed.json")


def test_files_are_read_back_by_another_process_and_as_long_as_the_model_says(here):
    record = compressed.measure(["gated-mnist", "vae-dmol-mnist"], num=4)
    assert json.loads(compressed.RECORD_HERE.read_text()) == record
    exact, bound = record["rows"]
    assert exact["kind"] == "exact" and exact["num_images"] == 4
    assert exact["expected_bytes"] <= exact["code_bytes"] < 1.001 * exact["expected_bytes"] + 20
    assert exact["code_bytes"] < exact["bytes"] < exact["code_bytes"] + 400
    assert bound["kind"] == "lower bound" and bound["code_bytes"] < 1.2 * bound["expected_bytes"] + 500
    assert all(row["encode_seconds"] > 0 and row["decode_seconds"] > 0 for row in record["rows"])


def test_a_process_that_finds_other_images_is_an_error(here, monkeypatch):
    def elsewhere(command, **options):
        out = command[command.index("gated-mnist") + 2]
        compressed.np.savez(out, images=compressed.np.zeros((1, 1, 28, 28), "uint8"))

    monkeypatch.setattr(compressed.subprocess, "run", elsewhere)
    with pytest.raises(RuntimeError, match="another process decoded other images from the file of gated-mnist"):
        compressed.measure(["gated-mnist"], num=1)
    assert not compressed.RECORD_HERE.exists()
