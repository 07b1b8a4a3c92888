"""Tables of Markdown, made from records."""

from collections.abc import Mapping, Sequence

import pandas as pd

Anchors = Mapping[str, tuple[float, str]]  # by run name, the published value and its source
NONE = "–"


def results_markdown(records: Sequence[Mapping], anchors: Anchors | None = None) -> str:
    """Results of records, one row per run: the last estimate of each, on the test set as a rule.

    Every data set and every measure has a table of its own, so that no density stands in the column of a mass.
    """
    groups: dict[tuple[str, str], list[Mapping]] = {}
    for record in records:
        groups.setdefault((record["dataset"], _measure(record)), []).append(record)
    tables = []
    for (dataset, measure), group in groups.items():
        caption = f"{dataset}:\n\n" if len(groups) > 1 else ""
        rows = [_result(record, measure, (anchors or {}).get(record["name"])) for record in group]
        tables.append(caption + _markdown(rows, numbers=(measure, "parameters", "images seen")))
    return "\n\n".join(tables)


def speed_markdown(benchmark: Mapping) -> str:
    """The record that `make bench` writes: ours beside a plain reference and an earlier version, row by row.

    ValueError for rows of several versions of torch, and for one that is said to be faster than a matrix product.
    """
    versions = {row["torch"] for row in benchmark["rows"]}
    if len(versions) > 1:
        raise ValueError(f"rows of one table must be of one version of torch, got {', '.join(sorted(versions))}")
    if impossible := [row["name"] for row in benchmark["rows"] if row.get("share_of_matmul", 0) > 1]:
        raise ValueError(f"more than the machine can do: {', '.join(impossible)}; measure it again")
    commits = sorted({row["earlier"] for row in benchmark["rows"] if "earlier" in row})
    earlier = f" *Earlier* is commit {', '.join(commits)}." if commits else ""
    head = f"{benchmark['hardware']}, torch {versions.pop()}.{earlier}"
    rows = [_speed(row) for row in benchmark["rows"]]
    return f"{head}\n\n{_markdown(rows, numbers=('ours', 'plain reference', 'ratio', 'earlier', 'earlier / ours'))}"


def _measure(record: Mapping) -> str:
    last = record["results"][-1]
    if record.get("unit", "nats") == "nats":
        return f"{last['split']} NLL (nats)"
    return f"{last['split']} bits per dimension" + {
        "density": ", of a density on the [-1, 1] axis",
        "improper": ", improper: comparable with nothing",
    }.get(last["kind"], "")


def score(record: Mapping) -> str:
    """The last estimate of a record with its standard error, in bits per dimension or nats."""
    last = record["results"][-1]
    value, error = -last["log_likelihood"], last["standard_error"]
    if record.get("unit", "nats") == "nats":
        return f"{value:.2f} ± {error:.2f}"
    return f"{last['bits_per_dim']:.3f} ± {error * last['bits_per_dim'] / value:.3f}"


def _result(record: Mapping, measure: str, anchor: tuple[float, str] | None) -> dict[str, str]:
    last = record["results"][-1]
    kind = last["kind"] + (f", M = {last['num_samples']:,}" if last["num_samples"] else "")
    return {
        "run": f"`{record['name']}`",
        "model": record["title"] + (f", after `{record['start']}`" if record.get("start") else ""),
        measure: score(record),
        "estimate of log p": f"{kind}, {last['num_images']:,} images",
        "published": "{:g} ({})".format(*anchor) if anchor else NONE,
        "parameters": f"{record['num_parameters']:,}",
        "images seen": f"{record['images_seen'] / 1e6:.3g} M",
        "training": f"{record['training_minutes']:.0f} min, {record['hardware'].replace(', 1 threads', ', 1 thread')}",
    }


def _speed(row: Mapping) -> dict[str, str]:
    speed = ", ".join(f"{speed} in {kind}" for kind, speed in row["matmul_gflops"].items())
    return {
        "work": row["name"],
        "ours": _seconds(row, "seconds"),
        "plain reference": _seconds(row, "reference_seconds"),
        "ratio": f"{row['ratio']:.1f}" if "ratio" in row else NONE,
        "earlier": _seconds(row, "earlier_seconds"),
        "earlier / ours": f"{row['earlier_ratio']:.2f}" if "earlier_ratio" in row else NONE,
        "share of matmul speed": f"{row['share_of_matmul']:.0%}" if "share_of_matmul" in row else NONE,
        "matrix products (GFLOP/s)": speed,
        "note": row.get("note", NONE),
    }


def _markdown(rows: Sequence[Mapping[str, str]], numbers: Sequence[str]) -> str:
    """Rows as a table. numbers: the columns that are aligned to the right."""
    table = pd.DataFrame(rows)
    sides = ["right" if column in numbers else "left" for column in table.columns]
    return table.to_markdown(index=False, colalign=sides, disable_numparse=True)


def _seconds(row: Mapping, key: str) -> str:
    """Written out, in three digits: 75,200 s."""
    return f"{float(f'{row[key]:.3g}'):,g} s" if key in row else NONE
