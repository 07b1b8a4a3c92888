"""Figures: what a reader sees must be placed where it is labelled, described in words, and repeat byte for byte."""

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from pixellib.series import execute, figures, tables

matplotlib.use("Agg")


def _figure():
    figures.use_style()
    fig, ax = plt.subplots()
    ax.plot([1, 2, 3])
    return fig


def test_a_saved_figure_repeats_byte_for_byte(tmp_path):
    # figures are committed: an unchanged figure must be an unchanged file
    for folder in ("one", "two"):
        figures.save_figure(_figure(), "a", alt="a line", folder=tmp_path / folder)
    assert (tmp_path / "one" / "a.png").read_bytes() == (tmp_path / "two" / "a.png").read_bytes()


def test_a_saved_figure_is_opaque(tmp_path):
    # on a dark page a transparent background would swallow the axes
    figures.save_figure(_figure(), "a", alt="a line", folder=tmp_path)
    assert np.asarray(Image.open(tmp_path / "a.png").convert("RGBA"))[..., 3].min() == 255


def test_a_figure_without_alternative_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="01_x"):
        figures.save_figure(_figure(), "01_x", alt=" ", folder=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "", ".hidden", "a.png"])
def test_a_figure_does_not_leave_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match="the name of a figure may hold letters"):
        figures.save_figure(_figure(), name, alt="a line", folder=tmp_path / "folder")
    assert not list(tmp_path.rglob("*.png"))


def test_a_notebook_shows_the_figure_once_with_its_alternative_text(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "get_ipython", lambda: object())
    monkeypatch.setattr(figures, "display", lambda data, metadata, raw: shown.append((data, metadata)))
    fig = _figure()
    figures.save_figure(fig, "a", alt="a line", folder=tmp_path)
    ((data, metadata),) = shown
    assert metadata["image/png"]["alt"] == "a line"
    assert metadata["image/png"]["width"] < Image.open(tmp_path / "a.png").width, "sharp on a fine screen"
    assert "image/png" in data
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("display_data", data, metadata=metadata)])
    saved = {"a": (tmp_path / "a.png").read_bytes()}
    assert execute.figures(nbformat.v4.new_notebook(cells=[cell])) == saved, "and this is how it is found again"
    assert not plt.fignum_exists(fig.number)  # or the inline backend would show it again


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_placed_row_by_row_and_unchanged(channels):
    images = torch.randint(0, 256, (5, channels, 4, 6), dtype=torch.uint8)
    grid = figures._grid(images, columns=3)
    assert grid.shape[:2] == (2 * 4 + 1, 3 * 6 + 2)
    for i, image in enumerate(images):
        top, left = i // 3 * 5, i % 3 * 7
        expected = image.permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(grid[top : top + 4, left : left + 6].reshape(4, 6, channels), expected)
    assert (grid[5:, 14:] == 255).all()  # no sixth image


def test_a_single_image_is_a_grid_too():
    image = torch.randint(0, 256, (1, 1, 4, 6), dtype=torch.uint8)
    np.testing.assert_array_equal(figures._grid(image, columns=1), image[0, 0].numpy())
    assert figures._grid(image, columns=2).shape == (4, 6 + 1 + 6)


def test_rows_are_labelled_at_their_own_height():
    images = torch.zeros(6, 1, 10, 10, dtype=torch.uint8)
    fig = figures.image_figure(images, columns=2, rows=["a", "b", "c"])
    (ax,) = fig.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert [round(tick) for tick in ax.get_yticks()] == [5, 16, 27]
    plt.close(fig)


def test_a_slider_draws_the_figure_of_its_value():
    drawn, already_open = [], plt.get_fignums()

    def draw(value):
        drawn.append(value)
        return _figure()

    chooser, picture = figures.slider(draw, "M", options=[1, 2, 5], value=2).children
    assert drawn == [2] and bytes(picture.value).startswith(b"\x89PNG")
    chooser.value = 5
    assert drawn == [2, 5]
    assert plt.get_fignums() == already_open


def _record(name, kind="lower bound", unit="nats", dataset="mnist, binarised"):
    def estimate(split, log_likelihood, num_samples):
        row = {"split": split, "kind": kind, "num_samples": num_samples, "num_images": 10_000}
        return {**row, "log_likelihood": log_likelihood, "standard_error": 0.3, "bits_per_dim": -log_likelihood / 2}

    return {
        "name": name,
        "title": "a model",
        "dataset": dataset,
        "unit": unit,
        "num_parameters": 1234,
        "images_seen": 2_500_000,
        "training_minutes": 61.4,
        "hardware": "an abacus",
        "results": [estimate("validation", -1.0, 5), estimate("test", -2.0, 5), estimate("test", -3.456, 5000)],
    }


def cells(line):
    """The cells of a line of a Markdown table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_densities_and_masses_never_share_a_column():
    """Nor do data sets, or nats and bits: each measure has a table of its own."""
    records = [
        _record("one"),
        _record("two", unit="bits", dataset="cifar10"),
        _record("three", "density", "bits", "cifar10"),
        _record("four", "improper", "bits", "cifar10"),
        _record("five", unit="bits", dataset="cifar10"),
    ]
    parts = tables.results_markdown(records).split("\n\n")
    assert parts[::2] == ["mnist, binarised:", "cifar10:", "cifar10:", "cifar10:"]
    measures = [cells(table.splitlines()[0])[2] for table in parts[1::2]]
    assert measures[:2] == ["test NLL (nats)", "test bits per dimension"]
    assert "density" in measures[2] and "improper" in measures[3]
    assert [len(table.splitlines()) for table in parts[1::2]] == [3, 4, 3, 3]
    assert "1.728 ± 0.150" in parts[3], "the standard error in the unit of the value"


def test_the_table_of_results_says_what_each_number_is():
    record = _record("some-run")
    row = cells(tables.results_markdown([record], {"some-run": (3.21, "somebody 1999")}).splitlines()[-1])
    assert row == [
        "`some-run`", "a model", "3.46 ± 0.30", "lower bound, M = 5,000, 10,000 images", "3.21 (somebody 1999)",
        "1,234", "2.5 M", "61 min, an abacus",
    ]  # fmt: skip
    assert cells(tables.results_markdown([record]).splitlines()[-1])[4] == "–"
    assert tables.results_markdown([]) == ""


SPEED = {
    "name": "some work", "seconds": 1.234, "reference_seconds": 4.0, "ratio": 3.24, "torch": "2.9",
    "matmul_gflops": {"fp32": 7},
}  # fmt: skip


def speed(*changes):
    """A record of the benchmarks with a row for each of the changes."""
    return {"hardware": "an abacus", "rows": [SPEED | change for change in changes]}


def test_the_table_of_speed_shows_ratios_and_leaves_out_what_is_missing():
    more = {"earlier": "v1", "earlier_seconds": 2.0, "earlier_ratio": 1.62, "share_of_matmul": 0.5, "note": "small"}
    text = tables.speed_markdown(speed({}, more))
    assert text.startswith("an abacus, torch 2.9. *Earlier* is commit v1.\n")
    first, second = map(cells, text.splitlines()[-2:])
    assert first == ["some work", "1.23 s", "4 s", "3.2", "–", "–", "–", "7 in fp32", "–"]
    assert second == ["some work", "1.23 s", "4 s", "3.2", "2 s", "1.62", "50%", "7 in fp32", "small"]
    alone = {key: value for key, value in SPEED.items() if key not in ("reference_seconds", "ratio")}
    assert "1.23 s" in tables.speed_markdown({"hardware": "an abacus", "rows": [alone]})


def test_a_table_of_speed_is_of_one_torch_and_of_what_is_possible():
    with pytest.raises(ValueError, match=r"one version of torch, got 2\.10, 2\.9"):
        tables.speed_markdown(speed({}, {"torch": "2.10"}))
    with pytest.raises(ValueError, match="more than the machine can do: odd work"):
        tables.speed_markdown(speed({}, {"name": "odd work", "share_of_matmul": 1.01}))
