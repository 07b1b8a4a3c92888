"""Figures and tables as the notebooks show them: one style, grids of images, files with alternative text."""

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from IPython import get_ipython
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from pixellib import files
from pixellib.series import paths
from pixellib.series.tables import Anchors, results_markdown

FOLDER = paths.ROOT / "figures"
PALETTE = sns.color_palette("colorblind").as_hex()
GREY = "#5f6368"
_SHOWN = 110  # pixels of a page for each inch of a figure; a file has more, for fine screens
_GAP = 1  # white pixels between the images of a grid


def use_style() -> None:
    """Set the style of the series: white opaque background, colour-blind-safe palette, light grid."""
    sns.set_theme(context="notebook", style="ticks", palette=PALETTE)
    matplotlib.rcParams.update({
        "figure.figsize": (7.2, 4.0),
        "figure.dpi": _SHOWN,
        "savefig.dpi": 200,
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

    name: NN_notebook_what, without extension or folder. alt: what a reader who cannot see the figure should know. The
    bytes depend on the figure alone (no date, no software version), so that an unchanged figure is an unchanged file.
    ValueError for a name with other characters than letters, digits, _ and -, and for an empty text.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"the name of a figure may hold letters, digits, _ and -, got {name!r}")
    if not alt.strip():
        raise ValueError(f"figure {name} needs an alternative text")
    width, png = _width(fig), _png(fig)
    files.replace(Path(folder) / f"{name}.png", png)
    if get_ipython() is not None:
        data = {"image/png": base64.b64encode(png).decode(), "text/plain": f"<figure {name}: {alt}>"}
        display(data, metadata={"image/png": {"alt": alt, "width": width}}, raw=True)


def slider(draw: Callable[[Any], Figure], name: str, options: Sequence, value: Any) -> ipywidgets.Widget:
    """A slider over options, and below it the figure draw(option); for readers in JupyterLab.

    The figure is sent as an image. An output widget, as `ipywidgets.interact` uses, can stall a headless run.
    """
    chooser = ipywidgets.SelectionSlider(options=options, value=value, description=name)
    fig = draw(value)
    width = str(_width(fig))
    picture = ipywidgets.Image(value=_png(fig), format="png", width=width)
    chooser.observe(lambda change: setattr(picture, "value", _png(draw(change["new"]))), "value")
    return ipywidgets.VBox([chooser, picture])


def show_images(ax: Axes, images: Tensor, *, columns: int, rows: Sequence[str] = (), title: str = "") -> None:
    """Draw images, uint8 (N, C, H, W), in one grid, filled row by row. rows: a label for each row of the grid."""
    ax.imshow(_grid(images, columns), vmin=0, vmax=255)
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
    high, wide = _grid(images, columns).shape[:2]
    margin = 0.1 + 0.065 * max(map(len, rows), default=0)  # room for the labels, inches
    height = (width - margin) * high / wide + 0.3 * bool(title)
    fig, ax = plt.subplots(figsize=(width, height))
    show_images(ax, images, columns=columns, rows=rows, title=title)
    ax.set_anchor("E")  # what is left over goes to the labels
    return fig


def results_table(records: Sequence[Mapping], anchors: Anchors | None = None) -> Markdown:
    """The tables of `tables.results_markdown`, as a notebook shows them."""
    return Markdown(results_markdown(records, anchors))


def _width(fig: Figure) -> int:
    """How wide a page shows it, in pixels."""
    return round(fig.get_figwidth() * _SHOWN)


def _png(fig: Figure) -> bytes:
    """The figure as PNG; closes it, or a notebook would show it a second time."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(fig)
    return buffer.getvalue()


def _grid(images: Tensor, columns: int) -> np.ndarray:
    """uint8 (N, C, H, W) -> (rows, width) or (rows, width, 3), white between images and where there are none."""
    if images.dtype != torch.uint8:  # of floats matplotlib would show 0 to 1
        raise TypeError(f"images must be uint8, got {images.dtype}")
    white = images.new_full((-len(images) % columns, *images.shape[1:]), 255)
    images = torch.cat([images, white]).cpu()
    grid = make_grid(images, nrow=columns, padding=_GAP, pad_value=255)
    if len(images) > 1:  # to a single image make_grid adds no margin
        grid = grid[:, _GAP:-_GAP, _GAP:-_GAP]
    return (grid[0] if images.shape[1] == 1 else grid.permute(1, 2, 0)).numpy()
