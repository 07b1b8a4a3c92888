"""How many bytes all test digits fill, with models and in ordinary formats: measured by writing and reading them."""

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from pixellib import coding, devices, evaluate, files
from pixellib.series import formats, paths, runs

NAMES = ("pixelcnnpp-mnist-softmax", "gated-mnist", "pixelcnnpp-mnist", "vae-dmol-mnist")
RECORD_HERE = paths.ROOT / "build" / "compressed.json"  # of this machine, for `make publish` to ship


def measure(names: Sequence[str] = NAMES, num: int | None = None, profile: str = "reference") -> dict:
    """Measure the runs, write the record and return it: hardware, and a row for each.

    num: how many test images, all if None. A model's row gives the bytes of the file, those of its code words alone,
    what its likelihood or bound says they should be, the bytes of its checkpoint, and the seconds of both directions;
    another process decodes. A format's row gives the bytes of one file of all images. RuntimeError if other images are
    decoded.
    """
    rows = [_model_row(name, num, profile) for name in names]
    images = runs.get(names[0]).images("test", profile)[:num]
    rows += [_format_row(name, form, images) for name, form in formats.formats().items()]
    record = {"hardware": devices.hardware(devices.resolve()), "rows": rows}
    files.write_json(RECORD_HERE, record)
    return record


def _format_row(name: str, form: formats.Format, images: Tensor) -> dict:
    """Of a sheet with 100 images in a row; or of the images one after another, if the format can and it is shorter."""
    arrays = [formats.sheet_of(images, columns=100)]
    if not form.of_pictures:
        arrays.append(images.numpy())
    rows = []
    for array in arrays:
        start = time.monotonic()
        data = form.encode(array)
        encoded = time.monotonic()
        if not np.array_equal(form.decode(data, array.shape), array):
            raise RuntimeError(f"{name} does not restore what it encoded")
        rows.append(
            {
                "name": name,
                "kind": "format",
                "num_images": len(images),
                "bytes": len(data),
                "bits_per_dim": round(8 * len(data) / images.numel(), 5),
                "encode_seconds": round(encoded - start, 3),
                "decode_seconds": round(time.monotonic() - encoded, 3),
            }
        )
    return min(rows, key=lambda row: row["bytes"])


def _model_row(name: str, num: int | None, profile: str) -> dict:
    run = runs.get(name)
    model, images = run.load_or_train(profile, device="cpu"), run.images("test", profile)[:num]
    batch_size = 500 if hasattr(model, "fill") else 50  # bits-back coding begins with random bits for a whole batch
    start = time.monotonic()
    data = coding.compress(model, images, batch_size=batch_size, precision="fp32", progress=True)
    encoded = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "digits.bin", Path(folder) / "digits.npz"
        file.write_bytes(data)
        command = [sys.executable, "-m", "pixellib", "decompress", name, str(file), str(out)]
        subprocess.run([*command, "--profile", profile, "--device", "cpu"], check=True, cwd=paths.ROOT)
        decoded = time.monotonic()
        if not np.array_equal(np.load(out)["images"], images.numpy()):
            raise RuntimeError(f"another process decoded other images from the file of {name}")
    estimate = evaluate(model, images, device="cpu", precision="fp32")
    return {
        "name": name,
        "num_images": len(images),
        "bytes": len(data),
        "code_bytes": coding.num_code_bytes(data),
        "expected_bytes": round(-estimate.log_likelihood * len(images) / math.log(2) / 8),
        "kind": estimate.kind,
        "checkpoint_bytes": run.checkpoint_path(profile).stat().st_size,
        "bits_per_dim": round(8 * len(data) / images.numel(), 5),
        "encode_seconds": round(encoded - start, 1),
        "decode_seconds": round(decoded - encoded, 1),
        "batch_size": batch_size,
        "precision": "fp32",
    }
