"""Images drawn from a trained run, in one grid: what `pixellib sample` does."""

import io
from pathlib import Path

import torch
from PIL import Image
from torchvision.utils import make_grid

from pixellib import devices, files
from pixellib.series import runs


def draw(
    name: str, out: Path, num: int, profile: str, device: str, seed: int, label: int | None, weights: Path | None
) -> None:
    """Write a PNG file with `num` images of the run.

    label: the class to draw; of a run with classes, all in turn if None. weights: the checkpoint, if not the one that
    the run would load. ValueError for a file that is no .png, in a folder that is not there, or not a file, and for a
    class that the run has not; CheckpointError for weights of another run.
    """
    if (kind := files.kind_of_file(files.check_path(out))) not in ("file", "missing"):
        raise ValueError(f"--out {out} is a {kind}, not a file")
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out {out} must end in .png")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}")
    run = runs.get(name)
    if weights is None:
        model = run.load_finished(profile, device=device)
    else:
        model = run.load(weights, profile).to(devices.resolve(device))
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    num_classes, condition = getattr(model, "num_classes", None), None
    if label is not None and num_classes is None:
        raise ValueError(f"run {name} has no classes to choose from")
    if label is not None and label >= num_classes:
        raise ValueError(f"--label must be from 0 to {num_classes - 1}: run {name} has {num_classes} classes")
    if num_classes is not None:
        condition = torch.arange(num) % num_classes if label is None else torch.full((num,), label)
    with torch.no_grad():
        images = model.sample(num, condition=condition, generator=generator)
    grid = make_grid(images.cpu(), nrow=max(1, round(num**0.5)), padding=1, pad_value=255)
    png = io.BytesIO()
    Image.fromarray(grid.permute(1, 2, 0).numpy()).save(png, "PNG")
    files.replace(out, png.getvalue())
    print(f"{name}: {num} images -> {out}")
