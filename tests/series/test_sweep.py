"""The trainings of notebook 10: jobs for a cluster, one table made of their records, and what follows from it."""

import doctest
import os
import re
import subprocess
import sys

import pandas
import pytest
import torch
from throwaway import ROOT, descendants, kill, wait_for

from pixellib import files
from pixellib.series import doctor, formats, paths, provenance, runs
from pixellib.series.permuted import sweep, symbols


def test_every_training_of_the_sweep_is_a_job_that_a_cluster_could_run():
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--printshellcmds", "--nolock", "--executor", "slurm"]
    fresh = os.environ | {"PIXELLIB_RUNS": "build/runs of nobody"}
    plan = subprocess.run(
        [*command, "--jobs", "8", "sweep"], cwd=ROOT, env=fresh, text=True, check=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ).stdout  # fmt: skip
    trainings = set(sweep.trainings())
    asked = re.findall(r"-m pixellib train (\S+) --profile reference --seed (\d)", plan)
    assert {(name, int(seed)) for name, seed in asked} == trainings, "the VQ-VAEs are shipped"
    assert len(asked) == len(trainings) > 100 and plan.count("runtime=120, mem_mb=4000") >= len(trainings)


def test_what_a_training_compares_is_known_to_its_run():
    factors = [runs.get(name).factors for name, _ in sweep.trainings()]
    images = {"mnist", "grey", "colour", "codes-mnist", "codes-cifar10", "text", "tokens"}
    assert images == {each["images"] for each in factors}
    heads = {"softmax", "truncated", "mixture", "tree", "grid2", "grid3"}
    assert heads == {each["head"] for each in factors}
    arms = {tuple(each.values()) for each in factors}
    assert {("codes-mnist", "mixture", "scrambled-k30"), ("grey", "truncated", "both-k85-half-rate")} <= arms
    names = {name: "permuted-" + "-".join(runs.get(name).factors.values()) for name, _ in sweep.trainings()}
    assert all(name == named for name, named in names.items())


def test_every_training_that_is_recorded_is_in_the_table_and_those_of_the_verdict_are():
    table = sweep.table()
    recorded = {training for training in sweep.trainings() if runs.record_path(*training).exists()}
    assert set(zip(table["run"], table["seed"], strict=True)) == recorded
    assert (table["split"] == "validation").sum() == 10 * len(recorded)
    verdict = {f"permuted-grey-{head}-{arm}" for head in ("softmax", "mixture") for arm in ("ordered", "scrambled")}
    assert {(name, seed) for name in verdict for seed in range(5)} <= recorded


def some_record(**changes):
    return runs.record("permuted-grey-mixture-scrambled", 2) | {"weights_sha256": None} | changes


def test_two_runs_may_have_the_same_weights():
    sweep.table_of([some_record(weights_sha256="abc"), some_record(weights_sha256="abc", name="another")])


def test_a_record_becomes_a_row_for_each_validation_and_each_result():
    history = [{"step": 20, "seconds": 10.0, "train_bits": 2.5, "validation_bits": 2.0}]
    estimate = {"split": "test", "kind": "exact", "num_samples": None, "num_images": 100}
    results = [estimate | {"log_likelihood": -500.0, "standard_error": 5.0, "bits_per_dim": 1.0}]
    results[0] |= {"bits_of": {"black": 0.1, "white": 3.0}, "best_mixture": {"bits": 0.3, "limited": 0.4, "bins": 0.5}}
    table = sweep.table_of([some_record(history=history, results=results, steps=40, training_minutes=0.5)])
    one, two = table.to_dict("records")
    assert one["run"] == two["run"] == "permuted-grey-mixture-scrambled" and one["seed"] == 2
    assert (one["images"], one["head"], one["arm"]) == ("grey", "mixture", "scrambled")
    assert one["permuted"] == "inputs and targets"
    assert (one["split"], one["step"], one["seconds"], one["bits"]) == ("validation", 20, 10.0, 2.0)
    assert (two["split"], two["step"], two["seconds"], two["bits"]) == ("final test", 40, 30.0, 1.0)
    assert (two["black"], two["white"], two["standard_error"]) == (0.1, 3.0, 0.01)
    assert (two["best_mixture"], two["best_limited"], two["bins"]) == (0.3, 0.4, 0.5)
    assert pandas.isna([two["between"], one["black"], one["standard_error"], one["bins"]]).all()


def test_a_training_that_is_there_twice_is_refused():
    """It passed for one more seed, and made intervals narrower."""
    with pytest.raises(ValueError, match="two records of permuted-grey-mixture-scrambled, seed 2"):
        sweep.table_of([some_record(), some_record()])
    copy = some_record(weights_sha256="abc"), some_record(weights_sha256="abc", seed=3)
    with pytest.raises(ValueError, match=r"the same weights: permuted-grey-mixture-scrambled, seed 2; .*seed 3"):
        sweep.table_of(list(copy))
    sweep.table_of([some_record(), some_record(seed=3)])


def test_a_record_under_the_name_of_another_seed_is_refused(tmp_path, monkeypatch):
    record = some_record()
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    files.write_json(tmp_path / "permuted-grey-mixture-scrambled-seed2.json", record)
    assert len(sweep.table()) == 13
    files.write_json(tmp_path / "permuted-grey-mixture-scrambled-seed1.json", record)
    with pytest.raises(RuntimeError, match=r"scrambled-seed1\.json is the record of .*, seed 2"):
        sweep.table()


@pytest.mark.parametrize(("num", "quantile"), [(2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776), (10, 2.262)])
def test_an_interval_over_seeds_is_that_of_student(num, quantile):
    """Quantiles from a printed table."""
    values = pandas.Series([float(i) for i in range(num)])
    mean, half = sweep.interval(values)
    assert (mean, half) == pytest.approx((values.mean(), quantile * values.std() / num**0.5), rel=2e-4)


def test_an_interval_needs_two_seeds_and_all_that_were_asked_for():
    with pytest.raises(ValueError, match="all of them"):
        sweep.interval(pandas.Series({0: 1.0, 1: 2.0}) - pandas.Series({0: 1.0, 2: 0.5}))  # no seed has both but one
    with pytest.raises(ValueError, match="2 seeds or more"):
        sweep.interval(pandas.Series([1.0]))


def test_an_arm_that_was_never_tested_is_no_empty_answer():
    with pytest.raises(KeyError, match="no test of truncated, both-half-rate, on grey"):
        sweep.bits("grey", "truncated", "both-half-rate")  # only its validation images were looked at


@pytest.mark.parametrize(
    ("excess", "half", "answer"),
    [
        ((0.03, 0.03, 0.03), 0.0, "It survives"),
        ((0.0, 0.1, 0.2), 0.248, "It is not decided"),
        ((1.0, 1.1, 1.2), 0.248, "It does not survive"),
    ],
)
def test_the_verdict_follows_from_the_table(excess, half, answer, monkeypatch):
    rows = [
        {"images": "grey", "head": head, "arm": arm, "seed": seed, "split": "final test", "bits": 4 + seed / 10 + more}
        for seed in range(3)
        for head, arm, more in [
            ("softmax", "scrambled", 0.0),
            ("softmax", "ordered", 0.0),
            ("mixture", "scrambled", excess[seed]),
            ("mixture", "ordered", -0.02),
            ("mixture", "scrambled-k10-head", 9.0),
        ]
    ]
    for row in rows:
        row |= dict.fromkeys(["best_mixture", "best_limited", "bins"], 0.01 if "head" in row["arm"] else None)
    monkeypatch.setattr(sweep, "table", lambda: pandas.DataFrame(rows))
    mean = sum(excess) / 3
    assert f"**{answer}:" in sweep.verdict() and f"needs {mean:.2f} ± {half:.2f} bits" in sweep.verdict()
    assert "needs 0.020 ± 0.000 bits fewer" in sweep.verdict()
    assert "Of these, 0.01 ± 0.00 would also be lost" in sweep.verdict()


@pytest.mark.parametrize("module", [doctor, formats, provenance, runs, sweep, symbols])
def test_examples_in_docstrings_run(module):
    assert doctest.testmod(module).attempted and not doctest.testmod(module).failed


@pytest.mark.slow
def test_a_training_of_the_sweep_goes_on_after_a_kill_and_a_finished_one_is_not_repeated(tmp_path):
    """A state is saved after a minute; what is begun again tells the step of that state before all others."""
    name = "permuted-grey-mixture-scrambled"

    def job(profile):
        folder = tmp_path / name / f"{profile}-seed0"
        line = [sys.executable, "-m", "pixellib", "figures", "--profile", profile, "--jobs", "1", "--"]
        options = {"cwd": ROOT, "env": os.environ | {"PIXELLIB_RUNS": str(tmp_path)}, "stderr": subprocess.DEVNULL}
        return folder, subprocess.Popen([*line, f"{folder / name}.json"], **options, stdout=subprocess.DEVNULL)

    def kill_when(condition, what):
        folder, build = job("reference")
        try:
            wait_for(lambda: condition(folder), what)
        finally:
            kill(descendants(build.pid))
            build.wait()
        return folder

    folder = kill_when(lambda folder: (folder / "resume.pt").exists(), "a state to go on from")
    saved = torch.load(folder / "resume.pt", weights_only=True)["step"]
    log = folder / "log"
    log.unlink()
    kill_when(lambda _: log.exists() and f"| {saved}/1000" in log.read_text(), f"it to go on from step {saved}")
    assert saved > 0 and not (folder / f"{name}.json").exists()

    folder, build = job("quick")
    assert build.wait() == 0
    finished = (folder / f"{name}.json").stat().st_mtime_ns
    folder, build = job("quick")
    assert build.wait() == 0 and (folder / f"{name}.json").stat().st_mtime_ns == finished
