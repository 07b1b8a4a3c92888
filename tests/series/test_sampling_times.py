"""The record of sampling times: a row for each model, in which more pixels drawn one by one take longer."""

import json

from pixellib.series import sampling_times


def test_a_model_that_draws_all_pixels_at_once_is_faster_than_one_that_draws_them_one_by_one(monkeypatch, tmp_path):
    monkeypatch.setattr(sampling_times, "RECORD_HERE", tmp_path / "sampling_times.json")
    record = sampling_times.measure(["vae-dmol-mnist", "gated-mnist"], num_samples=2)
    assert json.loads(sampling_times.RECORD_HERE.read_text()) == record
    at_once, one_by_one = record["rows"]
    assert (at_once["name"], one_by_one["name"]) == ("vae-dmol-mnist", "gated-mnist")
    assert 0 < 10 * at_once["seconds_per_image"] < one_by_one["seconds_per_image"]
