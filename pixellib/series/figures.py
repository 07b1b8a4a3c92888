"""One look for all figures: style, image grids, saving with alternative text, tables made from records."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython import get_ipython
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pixellib.files import write_atomically
from pixellib.series.paths import ROOT

FOLDER = ROOT / "figures"
PALETTE = sns.color_palette("colorblind").as_hex()
GREY = "#5f6368"
_GAP = 1  # white pixels between the images of a grid


def use_style() -> None:
    """Set the style of the series: white opaque background, colour-blind-safe palette, light grid."""
    sns.set_theme(context="notebook", style="ticks", palette=PALETTE)
    matplotlib.rcParams.update({
        "figure.figsize": (7.2, 4.0),
        "figure.dpi": 110,
        "savefig.dpi": 110,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "figure.constrained_layout.use": True,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.labelsize": 10,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.8,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
    })  # fmt: skip


def save_figure(fig: Figure, name: str, *, alt: str, folder: Path | str = FOLDER) -> None:
    """Write the figure to folder/name.png, close it, and show it in a notebook with its alternative text.

    name: NN_notebook_what, without extension. alt: what a reader who cannot see the figure should know. The bytes
    depend on the figure alone (no date, no software version), so that an unchanged figure is an unchanged file.
    """
    if not alt.strip():
        raise ValueError(f"figure {name} needs an alternative text")
    png = _png(fig)
    write_atomically(Path(folder) / f"{name}.png", lambda temporary: temporary.write_bytes(png))
    if get_ipython() is not None:
        data = {"image/png": base64.b64encode(png).decode(), "text/plain": f"<figure {name}: {alt}>"}
        display(data, metadata={"image/png": {"alt": alt}}, raw=True)


def slider(draw: Callable[[Any], Figure], name: str, options: Sequence, value: Any) -> ipywidgets.Widget:
    """A slider over options, and below it the figure draw(option); for readers in JupyterLab.

    The figure is sent as an image. An output widget, as `ipywidgets.interact` uses, can stall a headless run.
    """
    chooser = ipywidgets.SelectionSlider(options=options, value=value, description=name)
    picture = ipywidgets.Image(value=_png(draw(value)), format="png")
    chooser.observe(lambda change: setattr(picture, "value", _png(draw(change["new"]))), "value")
    return ipywidgets.VBox([chooser, picture])


def show_images(ax: Axes, images: Tensor, *, columns: int, rows: Sequence[str] = (), title: str = "") -> None:
    """Draw images, uint8 (N, C, H, W), in one grid, filled row by row. rows: a label for each row of the grid."""
    ax.imshow(_tile(images, columns), vmin=0, vmax=255)
    ax.set_title(title)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    height = images.shape[-2] + _GAP
    ax.set_xticks([])
    ax.set_yticks([i * height + images.shape[-2] / 2 for i in range(len(rows))], rows, fontsize=8)
    ax.tick_params(length=0)


def image_figure(
    images: Tensor, *, columns: int, rows: Sequence[str] = (), title: str = "", width: float = 7.2
) -> Figure:
    """A figure of one grid of images (see `show_images`), `width` inches wide and as high as the grid needs."""
    high, wide = _tile(images, columns).shape[:2]
    margin = 0.1 + 0.065 * max(map(len, rows), default=0)  # room for the labels, inches
    height = (width - margin) * high / wide + 0.3 * bool(title)
    fig, ax = plt.subplots(figsize=(width, height))
    show_images(ax, images, columns=columns, rows=rows, title=title)
    ax.set_anchor("E")  # what is left over goes to the labels
    return fig


def results_table(records: Sequence[Mapping], anchors: Mapping[str, tuple[float, str]] | None = None) -> Markdown:
    """Results of records as a Markdown table, one row per run: the last estimate of each, on the test set as a rule.

    anchors: by run name, the published value and its source.
    """
    return Markdown(results_markdown(records, anchors))


def results_markdown(records: Sequence[Mapping], anchors: Mapping[str, tuple[float, str]] | None = None) -> str:
    """The text of `results_table`: a table for each data set and measure, so that no density stands beside a mass."""
    groups: dict[tuple[str, str], list[Mapping]] = {}
    for record in records:
        groups.setdefault((record["dataset"], _measure(record)), []).append(record)
    captions = {key: f"{key[0]}:\n\n" if len(groups) > 1 else "" for key in groups}
    return "\n\n".join(captions[key] + _results_group(key[1], group, anchors or {}) for key, group in groups.items())


def _measure(record: Mapping) -> str:
    last = record["results"][-1]
    if record.get("unit", "nats") == "nats":
        return f"{last['split']} NLL (nats)"
    return f"{last['split']} bits per dimension" + {
        "density": ", of a density on the [-1, 1] axis",
        "improper": ", improper: comparable with nothing",
    }.get(last["kind"], "")


def _results_group(measure: str, records: Sequence[Mapping], anchors: Mapping[str, tuple[float, str]]) -> str:
    lines = [
        f"| run | model | {measure} | estimate of log p | published | parameters | images seen | training |",
        "|---|---|---:|---|---|---:|---:|---|",
    ]
    for record in records:
        last = record["results"][-1]
        what = last["kind"] + (f", M = {last['num_samples']:,}" if last["num_samples"] else "")
        published = "{:g} ({})".format(*anchors[record["name"]]) if record["name"] in anchors else "–"
        title = record["title"] + (f", after `{record['start']}`" if record.get("start") else "")
        value, error = -last["log_likelihood"], last["standard_error"]
        shown = f"{value:.2f} ± {error:.2f}"
        if record.get("unit", "nats") == "bits":
            shown = f"{last['bits_per_dim']:.3f} ± {error * last['bits_per_dim'] / value:.3f}"
        lines.append(
            f"| `{record['name']}` | {title} | {shown} "
            f"| {what}, {last['num_images']:,} images | {published} | {record['num_parameters']:,} "
            f"| {record['images_seen'] / 1e6:.3g} M | {record['training_minutes']:.0f} min, {record['hardware']} |"
        )
    return "\n".join(lines)


def speed_markdown(benchmark: Mapping) -> str:
    """The record that `make bench` writes, as a Markdown table."""
    lines = [
        f"{benchmark['hardware']}; in brackets, what it reached in products of 2048 x 2048 matrices, then.\n",
        "| work | ours | plain reference | ratio | share of matmul speed | ask | torch |",
        "|---|---:|---:|---:|---:|---|---|",
    ]
    for row in benchmark["rows"]:
        speed = ", ".join(f"{speed} GFLOP/s in {kind}" for kind, speed in row["matmul_gflops"].items())
        share = f"{row['share_of_matmul']:.0%} ({speed})" if "share_of_matmul" in row else "–"
        lines.append(
            f"| {row['name']} | {row['seconds']:.3g} s | {row['reference_seconds']:.3g} s | {row['ratio']:.1f} "
            f"| {share} | {row['ask'] or '–'} | {row['torch']} |"
        )
    return "\n".join(lines)


def _png(fig: Figure) -> bytes:
    """The figure as PNG; closes it, or a notebook would show it a second time."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(fig)
    return buffer.getvalue()


def _tile(images: Tensor, columns: int, gap: int = _GAP) -> np.ndarray:
    """uint8 (N, C, H, W) -> (rows, width) or (rows, width, 3), white between images and where there are none."""
    pixels = images.cpu().permute(0, 2, 3, 1).numpy()
    count, height, width, channels = pixels.shape
    num_rows = -(-count // columns)
    grid = np.full((num_rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, dtype=np.uint8)
    for i, image in enumerate(pixels):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        grid[top : top + height, left : left + width] = image
    return grid[..., 0] if channels == 1 else grid
