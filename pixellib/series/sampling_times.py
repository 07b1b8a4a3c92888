"""How long the shipped models take to draw images, measured one after the other on the same machine."""

from collections.abc import Sequence

from pixellib import devices, files
from pixellib.series import paths, runs, train

RECORD_HERE = paths.ROOT / "build" / "sampling_times.json"  # of this machine, for `make publish` to ship


def measure(names: Sequence[str] | None = None, num_samples: int = 16) -> dict:
    """Measure runs (all whose checkpoints ship, if None), write the record and return it: hardware, images drawn at
    once, and a row for each run with the seconds that one of these images took.

    The record of a training has such a number too, but trainings ran beside other work and on other processors.
    """
    names = names or [name for name in runs.names() if (paths.CHECKPOINTS / f"{name}.safetensors").exists()]
    rows = []
    for name in names:
        model = runs.get(name).load_or_train(device="cpu")
        rows.append({"name": name, "seconds_per_image": round(train.sampling_seconds(model, num_samples), 6)})
    record = {"hardware": devices.hardware(devices.resolve("cpu")), "num_images": num_samples, "rows": rows}
    files.write_json(RECORD_HERE, record)
    return record
