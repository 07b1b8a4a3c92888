"""`make bench`: how fast we are, as ratios against plain references written in the benchmarks themselves.

Ours and the reference take turns in one process; medians are reported, beside what this machine's processor does in
matrix products. Nothing is asserted of a time. The table is printed at the end and recorded in build/bench/bench.json;
where only some were run (OPTIONS="-k gated"), the others keep their rows if these are of the same machine.
"""

import json
import statistics
import time
from pathlib import Path

import pytest
import torch

from pixellib import devices, files
from pixellib.series import doctor

RECORD = Path(__file__).resolve().parents[1] / "build" / "bench" / "bench.json"
ROWS = pytest.StashKey[list[dict]]()


def pytest_configure(config):
    config.stash[ROWS] = []
    config.option.benchmark_quiet = True  # the table below says it in the terms of the series


def seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def human(duration: float) -> str:
    return f"{duration:.3g} s" if duration >= 0.1 else f"{1000 * duration:.3g} ms"


@pytest.fixture(scope="session")
def machine() -> dict:
    return {"hardware": devices.hardware(doctor.CPU), "matmul_gflops": doctor.speeds()}


@pytest.fixture
def compare(benchmark, machine, pytestconfig):
    def compare(name, ours, reference, *, times=1.0, reference_times=None, flops=None, ask="", rounds=7, warm_up=2):
        """Time ours against the reference and return the row of the record, to which more may be added.

        times: how many calls the row stands for, of ours and, unless reference_times says otherwise, of the
        reference. flops: of the matrix products in one call. ask: of speed.
        """
        plain = []
        benchmark.pedantic(
            ours, setup=lambda: plain.append(seconds(reference)), rounds=rounds, warmup_rounds=warm_up
        )  # setup runs before every round, so the two alternate
        one, other = benchmark.stats.stats.median, statistics.median(plain[warm_up:])
        reference_seconds = (times if reference_times is None else reference_times) * other
        row = {
            "name": name,
            "seconds": times * one,
            "reference_seconds": reference_seconds,
            "ratio": reference_seconds / (times * one),
            "ask": ask,
            "torch": torch.__version__,
            "matmul_gflops": machine["matmul_gflops"],
        }
        if flops:
            row["gflops"] = flops / one / 1e9
            row["share_of_matmul"] = row["gflops"] / max(machine["matmul_gflops"].values())
        pytestconfig.stash[ROWS].append({"machine": machine, **row})
        return pytestconfig.stash[ROWS][-1]

    return compare


def recorded_before(machine: dict, config) -> list[dict]:
    """Where only some benchmarks were run: rows that stay, or give way to newer ones of their name."""
    everything = config.args == ["benchmarks"] and not config.option.keyword
    if everything or not RECORD.exists():
        return []
    record = json.loads(RECORD.read_text())
    return record["rows"] if record["hardware"] == machine["hardware"] else []


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[ROWS]
    if not rows:
        return
    machine = rows[0]["machine"]
    rows = [{key: value for key, value in row.items() if key != "machine"} for row in rows]
    rows = [{k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    latest = {row["name"]: row for row in [*recorded_before(machine, config), *rows]}
    files.write_json(RECORD, {"hardware": machine["hardware"], "rows": list(latest.values())})
    say = terminalreporter.write_line
    speeds = ", ".join(f"{speed} GFLOP/s in {kind}" for kind, speed in machine["matmul_gflops"].items())
    say("")
    say(f"{machine['hardware']}, torch {torch.__version__}; matrix products of 2048 x 2048: {speeds}")
    say(f"{'':<58} {'ours':>9} {'reference':>10} {'ratio':>6} {'of matmul':>9}  ask")
    for row in rows:
        share = f"{row['share_of_matmul']:.0%}" if "share_of_matmul" in row else ""
        say(
            f"{row['name']:<58} {human(row['seconds']):>9} {human(row['reference_seconds']):>10}"
            f" {row['ratio']:>5.1f}x {share:>9}  {row['ask']}"
        )
        if "note" in row:
            say(f"    {row['note']}")
    say(f"recorded in {RECORD}")
