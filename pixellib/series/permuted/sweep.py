"""The sweep of notebook 10: its trainings, the one long table of their records, and differences between them."""

from functools import lru_cache
from typing import TYPE_CHECKING

from pixellib.series import runs

if TYPE_CHECKING:
    import pandas

MARGIN = 0.05  # bits per dimension that a mixture may need more than a softmax and still pass, set beforehand
_KINDS = ("black", "between", "white")  # of pixels, by their level before any permutation
_BEST = ["best_mixture", "best_limited", "bins"]

# pandas and scipy take half a second to import, and only notebooks and `make publish` need them.


def trainings() -> list[tuple[str, int]]:
    """Name and seed of each training."""
    return [(name, seed) for name in runs.names() if (run := runs.get(name)).symbols for seed in range(run.seeds)]


def table() -> "pandas.DataFrame":
    """The shipped records as one long table: for each training a row for each of its validations, then one for each
    result.

    bits: per dimension, of images; per code, of the pictures of codes; standard_error: of bits. black, between, white:
    the same for pixels of which that was the level, before any permutation. best_mixture, best_limited, bins: see
    `best_mixture`. ValueError if a training is there twice.
    """
    shipped = [training for training in trainings() if runs.record_path(*training).exists()]
    return _read(tuple((*training, runs.record_path(*training).stat().st_mtime_ns) for training in shipped)).copy()


@lru_cache(maxsize=1)  # a notebook asks a hundred times
def _read(shipped: tuple[tuple[str, int, int], ...]) -> "pandas.DataFrame":
    return table_of([runs.record(name, seed) for name, seed, _ in shipped])


def table_of(records: list[dict]) -> "pandas.DataFrame":
    """Records of trainings as that table. ValueError if two are of the same training."""
    import pandas as pd

    about = pd.DataFrame([{"run": record["name"], "seed": record["seed"]} for record in records], dtype=object)
    if about.duplicated().any():
        twice = [f"{name}, seed {seed}" for name, seed in about[about.duplicated()].to_numpy()]
        raise ValueError(f"there are two records of {'; '.join(twice)}")
    about["weights"] = [record.get("weights_sha256") for record in records]
    copied = about.dropna().duplicated(["run", "weights"], keep=False)  # two runs may have found the same order
    if copied.any():
        copies = about.loc[copied[copied].index, ["run", "seed"]].to_numpy()
        raise ValueError(f"these records are of the same weights: {'; '.join(f'{n}, seed {s}' for n, s in copies)}")
    return pd.DataFrame([row for record in records for row in _rows(record)])


def bits(images: str, head: str, arm: str) -> "pandas.Series":
    """What the trainings reached on the test set, by seed: of mnist, grey, colour, text and so on.

    KeyError if the table has none such.
    """
    return _final(images, head, arm)["bits"]


def _final(images: str, head: str, arm: str) -> "pandas.DataFrame":
    rows = table().query("images == @images and head == @head and arm == @arm and split == 'final test'")
    if rows.empty:
        raise KeyError(f"the table has no test of {head}, {arm}, on {images}")
    return rows.set_index("seed")


def interval(differences: "pandas.Series") -> tuple[float, float]:
    """Mean of differences, one for each seed, and half the width of its 95 % confidence interval after Student.

    ValueError if one is missing, or if there is only one.

    >>> import pandas
    >>> mean, half = interval(pandas.Series([1.0, 2.0, 3.0]))
    >>> f"{mean:.2f} ± {half:.2f}"
    '2.00 ± 2.48'
    """
    import scipy.stats

    if differences.isna().any() or len(differences) < 2:
        raise ValueError(f"expected differences of 2 seeds or more, all of them, got {differences.tolist()}")
    quantile = scipy.stats.t.ppf(0.975, df=len(differences) - 1)
    return float(differences.mean()), float(quantile * differences.sem())


def verdict() -> str:
    """What notebook 10 found, in a sentence of Markdown: how a mixture of ten logistics compares with softmax on grey
    CIFAR-10, and which part of its loss the best mixture would have as well.
    """
    behind = {arm: bits("grey", "mixture", arm) - bits("grey", "softmax", arm) for arm in ("scrambled", "ordered")}
    (more, half), (ordered, half_ordered) = (interval(differences) for differences in behind.values())
    least, half_least = interval(best_mixture(10)["best_mixture"])
    record = runs.record("permuted-grey-softmax-scrambled")
    filters = record["identity"]["options"]["num_filters"]
    passes = record["images_seen"] / record["identity"]["split_sizes"]["train"]
    answer = "It is not decided"
    if more + half < MARGIN:
        answer = "It survives"
    elif more - half > MARGIN:
        answer = "It does not survive"
    return (
        f"**{answer}: on grey CIFAR-10 with scrambled levels, a mixture of ten logistics needs {more:.2f} ± {half:.2f} "
        f"bits per dimension more than a softmax on the same network.** Of these, {least:.2f} ± {half_least:.2f} would "
        f"also be lost by the best mixture of ten that we could fit to the softmax's own predictions. The rest is due "
        f"to the layer that computes it, and to training. With ordered levels the mixture needs {abs(ordered):.3f} ± "
        f"{half_ordered:.3f} bits {'fewer' if ordered < 0 else 'more'} than the softmax. (PixelCNN++ of {filters} "
        f"filters, {passes:.2f} passes over the training data; test images, means over {len(behind['scrambled'])} "
        f"seeds, 95 % intervals.)"
    )


def best_mixture(num_components: int) -> "pandas.DataFrame":
    """Bits that are lost on a softmax's predictions for scrambled levels, by seed. best_mixture: by the best mixture of
    so many components; best_limited: by the best one within the limit of scales that trainings have; bins: by a
    histogram of as many bins. See best_mixture.py. KeyError if the table has no head of that size, trained alone.
    """
    return _final("grey", "mixture", f"scrambled-k{num_components}-head")[_BEST].astype(float)


def _rows(record: dict) -> list[dict]:
    identity = record["identity"]
    options, codes = identity["options"], identity["upstream"].get("codes")
    about = {"run": record["name"], **record["factors"], "dataset": identity["dataset"], **identity["symbols"]}
    about |= {"codes": codes and codes["run"], "likelihood": options["likelihood"]}
    about |= {"init_output": options["init_output"], "embedding": options["embedding"], "seed": record["seed"]}
    about |= {"steps": record["steps"], "learning_rate": identity["settings"]["learning_rate"]}
    about |= {"num_parameters": record["num_parameters"], "hardware": record["hardware"]}
    about |= {"sampling_seconds": record["sampling_seconds_per_image"]}
    about |= dict.fromkeys(["standard_error", "num_images", *_BEST, *_KINDS])
    rows = [
        {"split": "validation", "step": row["step"], "seconds": row["seconds"], "bits": row["validation_bits"]}
        for row in record["history"]
    ]
    last = {"step": record["steps"], "seconds": round(60 * record["training_minutes"], 1)}
    for row in record["results"]:
        error = row["standard_error"] * row["bits_per_dim"] / -row["log_likelihood"]
        result = {"bits": row["bits_per_dim"], "standard_error": round(error, 5), "num_images": row["num_images"]}
        found = row.get("best_mixture", {})
        best = {name: found.get(key) for name, key in zip(_BEST, ("bits", "limited", "bins"), strict=True)}
        rows.append({"split": f"final {row['split']}", **last, **result, **best, **row.get("bits_of", {})})
    return [about | row for row in rows]
