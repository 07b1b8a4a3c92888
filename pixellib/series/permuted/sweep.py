"""The sweep of notebook 10: its trainings, the one long table of all of them, and differences between them."""

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from pixellib.series import paths, runs

if TYPE_CHECKING:
    import pandas

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 97.5 % quantiles of Student's t, by the number of seeds
MARGIN = 0.05  # bits per dimension that a mixture may need more than a softmax and still pass, set beforehand


def trainings() -> list[tuple[str, int]]:
    """Name and seed of each training."""
    return [(name, seed) for name in runs.names() if (run := runs.get(name)).symbols for seed in range(run.seeds)]


def path() -> Path:
    """Where the table is shipped."""
    return paths.RESULTS / "permuted.csv"


def table() -> "pandas.DataFrame":
    """The shipped table: for each training a row for each of its validations, then one for each result.

    bits: per dimension, of images; per code, of the pictures of codes. black, between, white: the same for pixels of
    which that was the level, before any permutation.
    """
    import pandas as pd  # half a second, and only notebooks need it

    return pd.read_csv(path())


def bits(images: str, head: str, arm: str) -> "pandas.Series":
    """What the trainings reached on the test set, by seed: of mnist, grey, codes-mnist or codes-cifar10.

    KeyError if the table has none such.
    """
    rows = table().query("images == @images and head == @head and arm == @arm and split == 'final test'")
    if rows.empty:
        raise KeyError(f"the table has no test of {head}, {arm}, on {images}")
    return rows.set_index("seed")["bits"]


def interval(differences: "pandas.Series") -> tuple[float, float]:
    """Mean of differences, one for each seed, and half the width of its 95 % interval, after Student.

    ValueError if one is missing, or for another number of seeds than 2 to 5.
    """
    if differences.isna().any() or len(differences) not in STUDENT:
        raise ValueError(f"expected differences of 2 to 5 seeds, all of them, got {differences.tolist()}")
    return differences.mean(), STUDENT[len(differences)] * differences.std() / math.sqrt(len(differences))


def verdict() -> str:
    """What notebook 10 found, in a sentence of Markdown: how truncate compares with softmax on grey CIFAR-10."""
    behind = {arm: bits("grey", "truncated", arm) - bits("grey", "softmax", arm) for arm in ("both", "identity")}
    (more, half), (ordered, half_ordered) = (interval(differences) for differences in behind.values())
    answer = "It is not decided"
    if more + half < MARGIN:
        answer = "It survives"
    elif more - half > MARGIN:
        answer = "It does not survive"
    return (
        f"**{answer}: on grey CIFAR-10 with scrambled levels, a truncated mixture of ten logistics needs "
        f"{more:.2f} ± {half:.2f} bits per dimension more than a softmax on the same network; with ordered levels it "
        f"needs {abs(ordered):.3f} ± {half_ordered:.3f} {'fewer' if ordered < 0 else 'more'}** "
        f"(test images, means over {len(behind['both'])} seeds, 95 % intervals)."
    )


def as_csv(records: list[dict], shipped: str = "") -> str:
    """Records of trainings as the table. shipped: one of before, whose other trainings are kept."""
    known: dict[tuple[str, int], list[dict]] = {}
    for row in csv.DictReader(io.StringIO(shipped)):
        known.setdefault((row["run"], int(row["seed"])), []).append(row)
    known |= {(record["name"], record["seed"]): _rows(record) for record in records}
    rows = [row for training in trainings() for row in known.get(training, [])]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _rows(record: dict) -> list[dict]:
    options, symbols = record["options"], record["symbols"]
    about = {"run": record["name"], **_parts(record["name"]), "dataset": record["dataset"], **symbols}
    about |= {"likelihood": options["likelihood"], "spread": options["spread"], "embedding": options["embedding"]}
    about |= {"seed": record["seed"], "steps": record["steps"], "learning_rate": record["settings"]["learning_rate"]}
    about |= {"num_parameters": record["num_parameters"], "hardware": record["hardware"]}
    about |= {"sampling_seconds": record["sampling_seconds_per_image"]}
    rows = [
        {"split": "validation", "step": row["step"], "seconds": row["seconds"], "bits": row["validation_bits"]}
        for row in record["history"]
    ]
    last = {"step": record["steps"], "seconds": round(60 * record["training_minutes"], 1)}
    for row in record["results"]:
        error = row["standard_error"] * row["bits_per_dim"] / -row["log_likelihood"]
        result = {"bits": row["bits_per_dim"], "standard_error": round(error, 5), "num_images": row["num_images"]}
        rows.append({"split": f"final {row['split']}", **last, **result, **row.get("bits_of", {})})
    empty = dict.fromkeys(["standard_error", "num_images", "black", "between", "white"])
    return [about | empty | row for row in rows]


def _parts(name: str) -> dict[str, str]:
    """Of permuted-codes-mnist-truncate-raw: the images codes-mnist, the head truncate, the arm raw."""
    images, head, arm = name.removeprefix("permuted-").replace("codes-", "codes ").split("-", 2)
    return {"images": images.replace(" ", "-"), "head": head, "arm": arm}
