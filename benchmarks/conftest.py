"""`make bench`: how fast we are, as ratios against plain references written in the benchmarks themselves.

Ours and the reference take turns in one process; medians are reported, beside what this machine's processor does in
matrix products. With OPTIONS="--against v0.1.0" (any commit) the work of that version, in a process of its own, takes
its turn too. Nothing is asserted of a time. The table is printed at the end and recorded in build/bench/bench.json;
where only some were run (OPTIONS="-k gated"), the others keep their rows if these are of the same machine and torch.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
import workloads

from pixellib import devices, files
from pixellib.series import doctor

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "build" / "bench" / "bench.json"
ROWS = pytest.StashKey[list[dict]]()


def pytest_addoption(parser):
    parser.addoption("--against", help="a commit, whose work is timed as well")


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


class Earlier:
    """Another version of the project, at work in a process of its own."""

    def __init__(self, commit: str, folder: Path):
        self.commit, self.folder = commit, folder
        subprocess.run(["git", "worktree", "add", "--detach", str(folder), commit], cwd=ROOT, check=True)
        self.process = subprocess.Popen(
            [sys.executable, workloads.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(folder), "PIXELLIB_RUNS": str(ROOT / "build" / "runs")},
        )  # fmt: skip

    def seconds(self, name: str, arguments: tuple) -> float:
        print(json.dumps({"name": name, "arguments": arguments}), file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        subprocess.run(["git", "worktree", "remove", "--force", str(self.folder)], cwd=ROOT, check=True)


@pytest.fixture(scope="session")
def earlier(pytestconfig, tmp_path_factory):
    """The version that --against names, or None."""
    commit = pytestconfig.getoption("--against")
    version = Earlier(commit, tmp_path_factory.mktemp("earlier") / "checkout") if commit else None
    yield version
    if version:
        version.close()


@pytest.fixture(scope="session")
def measured() -> dict:
    """When, and of which version: its commit, with a + if something was changed since."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--exclude=*", "--dirty=+"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return {"date": datetime.now(UTC).date().isoformat(), "commit": commit or None}


@pytest.fixture
def compare(benchmark, machine, measured, earlier, pytestconfig):
    def compare(
        name, ours, reference=None, *, earlier_as=None, times=1.0, reference_times=None, flops=None, ask="",
        rounds=7, warm_up=2,
    ):  # fmt: skip
        """Time ours against the reference and return the row of the record, to which more may be added.

        ours: a callable, or the name and arguments of a workload, which an earlier version can do as well, as it is or
        as `earlier_as`. reference: a callable; None where there is only the earlier version to compare with. times: how
        many calls the row stands for, of ours and, unless reference_times says otherwise, of the reference. flops: of
        the matrix products in one call. ask: of speed.
        """
        before, plain = [], []
        asked = None if isinstance(ours, Callable) else ours
        of_earlier = earlier_as or asked
        work = workloads.make(*asked) if asked else ours

        def others():  # runs before every round, so that all alternate
            if reference:
                plain.append(seconds(reference))
            if of_earlier and earlier:
                before.append(earlier.seconds(of_earlier[0], of_earlier[1:]))

        benchmark.pedantic(work, setup=others, rounds=rounds, warmup_rounds=warm_up)
        one = benchmark.stats.stats.median
        row = {
            "name": name,
            "seconds": times * one,
            "ask": ask,
            "torch": torch.__version__,
            **measured,
            "matmul_gflops": doctor.speeds(),  # of this minute: a machine that is shared is not always as fast
        }
        if plain:
            each = statistics.median(plain[warm_up:])
            row["reference_seconds"] = (times if reference_times is None else reference_times) * each
            row["ratio"] = row["reference_seconds"] / row["seconds"]
        if before:
            row["earlier"] = earlier.commit
            row["earlier_seconds"] = times * statistics.median(before[warm_up:])
            row["earlier_ratio"] = row["earlier_seconds"] / row["seconds"]
        if flops:
            row["gflops"] = flops / one / 1e9
            row["share_of_matmul"] = row["gflops"] / max(row["matmul_gflops"].values())
        pytestconfig.stash[ROWS].append({"machine": machine, **row})
        return pytestconfig.stash[ROWS][-1]

    return compare


def recorded_before(machine: dict, config) -> list[dict]:
    """Where only some benchmarks were run: rows that stay, or give way to newer ones of their name."""
    everything = config.args == ["benchmarks"] and not config.option.keyword
    if everything or not RECORD.exists():
        return []
    record = json.loads(RECORD.read_text())
    same = record["hardware"] == machine["hardware"]
    return [row for row in record["rows"] if same and row["torch"] == torch.__version__]


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
    say(f"{'':<62} {'ours':>9} {'reference':>10} {'ratio':>6} {'earlier':>9} {'ratio':>6} {'of matmul':>9}  ask")
    for row in rows:
        cells = [human(row[key]) if key in row else "" for key in ("seconds", "reference_seconds", "earlier_seconds")]
        ratio, earlier_ratio, share = (
            form.format(row[key]) if key in row else ""
            for key, form in (("ratio", "{:.1f}x"), ("earlier_ratio", "{:.2f}x"), ("share_of_matmul", "{:.0%}"))
        )
        say(
            f"{row['name']:<62} {cells[0]:>9} {cells[1]:>10} {ratio:>6} {cells[2]:>9} {earlier_ratio:>6}"
            f" {share:>9}  {row['ask']}"
        )
        if "note" in row:
            say(f"    {row['note']}")
    say(f"recorded in {RECORD}")
