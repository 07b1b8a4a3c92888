"""What notebook 10 makes of images: symbols that one can go back from, and an order found without looking."""

import csv
import json
import os
import re
import subprocess
import sys

import pandas
import pytest
import torch
from throwaway import ROOT, descendants, kill, wait_for

from pixellib import data
from pixellib.data import IntensityPermutation, grey
from pixellib.likelihoods import Categorical, LogisticMixture, Permuted
from pixellib.models import GatedPixelCNN, PixelCNNpp
from pixellib.series import publish, runs
from pixellib.series.permuted import sweep
from pixellib.series.permuted.order import used_first
from pixellib.series.permuted.symbols import Symbols

scrambled = IntensityPermutation(seed=2)


def photographs():
    return data.load("offline_crops", "train")[0][:20]


def refuse():
    raise AssertionError("training images are not asked for")


def test_photographs_become_grey_and_are_renamed_only_where_inputs_are_permuted():
    x, levels = photographs(), grey(photographs())
    assert torch.equal(Symbols().of(x, 3, refuse), levels)
    assert torch.equal(Symbols(permuted="targets").of(x, 3, refuse), levels)
    both = Symbols(permuted="inputs and targets", window=16)
    assert torch.equal(both.of(x, 3, refuse), IntensityPermutation(256, 3, 16)(levels))
    assert not torch.equal(both.of(x, 3, refuse), both.of(x, 4, refuse))


def test_targets_are_permuted_by_the_likelihood():
    base = LogisticMixture(2)
    assert Symbols(permuted="inputs and targets").likelihood(base, 1) is base
    permuted = Symbols(permuted="targets").likelihood(base, 1)
    assert isinstance(permuted, Permuted) and permuted.likelihood is base
    assert torch.equal(permuted.permutation.table, IntensityPermutation(256, 1).table)


def test_the_order_is_found_in_the_training_images_as_they_were_scrambled():
    x, train = photographs(), data.load("offline_crops", "train")[0]
    symbols = Symbols(permuted="inputs and targets", order="neighbours").of(x, 5, lambda: train)
    pairs = torch.stack([symbols.flatten().double(), grey(x).flatten().double()])
    assert pairs.corrcoef()[0, 1].abs() > 0.98


def test_targets_and_both_permuted_are_the_same_problem():
    """With an embedding the input's names mean nothing: the two arms differ in what they draw, not in kind."""
    run = runs.get("permuted-mnist-softmax-targets")
    x = run.images("validation")[:2]
    torch.manual_seed(0)
    targets = run.build(seed=1)
    both = runs.get("permuted-mnist-softmax-both")
    torch.manual_seed(0)
    renamed = both.build(seed=1)
    table = IntensityPermutation(seed=1).table.long()
    with torch.no_grad():
        renamed.embedding.weight[table] = targets.embedding.weight.clone()
        torch.testing.assert_close(renamed.log_prob(both.images("validation", seed=1)[:2]), targets.log_prob(x))


def test_symbols_that_occur_are_packed_first_and_keep_their_order():
    x = torch.tensor([7, 3, 200, 3], dtype=torch.uint8).view(1, 1, 2, 2)
    assert used_first(x)(x).flatten().tolist() == [1, 0, 2, 0]
    both = Symbols(permuted="inputs and targets", order="used first")
    assert both.of(x, 5, lambda: x).max() == 2


@pytest.mark.parametrize("network", [PixelCNNpp, GatedPixelCNN])
@pytest.mark.parametrize("likelihood", [LogisticMixture(8, "truncated"), Permuted(LogisticMixture(8), scrambled)])
def test_components_can_begin_side_by_side_over_the_whole_range(network, likelihood):
    """Symbols may be anywhere: a component that begins far from one and as broad as all is slow to get there."""
    x = data.load("mnist", "train")[0][:8]
    model = network(channels=1, size=(28, 28), likelihood=likelihood, spread=True)
    model.initialise(x)
    with torch.no_grad():
        predicted = model.likelihood(model.params(x))
    mixture = getattr(predicted, "symbols", predicted)
    centres = 127.5 * (mixture.means[:, 0].movedim(1, -1) + 1)  # (B, H, W, K), in levels
    assert (centres - (torch.arange(8) + 0.5) * 255 / 8).abs().median() < 16
    assert mixture.log_scales.exp().mean() == pytest.approx(1 / 16, rel=0.2)


def test_only_mixtures_can_begin_side_by_side():
    with pytest.raises(TypeError, match="spread is for mixtures"):
        GatedPixelCNN(likelihood=Categorical(), spread=True)


def test_bits_of_black_white_and_other_pixels_add_up_to_the_image():
    run = runs.get("permuted-mnist-truncate-both")
    model = run.build("quick")
    row = run.evaluate(model, "test", "quick")[0]
    levels = data.load("mnist", "test")[0][: row["num_images"]]
    share = {"black": (levels == 0), "white": (levels == 255), "between": (levels > 0) & (levels < 255)}
    total = sum(row["bits_of"][name] * pixels.float().mean().item() for name, pixels in share.items())
    assert total == pytest.approx(row["bits_per_dim"], rel=1e-4)


@pytest.mark.parametrize(("head", "ordinary"), [("censored", "nothing"), ("softmax", "mixture")])
def test_the_identity_control_is_the_ordinary_training_of_notebook_09(head, ordinary):
    """So their numbers must agree, seed by seed; only the code that makes symbols lies between them."""
    control, ordinary = runs.get(f"permuted-mnist-{head}-identity"), runs.get(f"pixelcnnpp-without-{ordinary}")
    assert (control.seeds, control.plan()) == (ordinary.seeds, ordinary.plan())
    assert torch.equal(control.images("validation", seed=1), ordinary.images("validation", seed=1))
    torch.manual_seed(0)
    one = control.build(seed=1)
    torch.manual_seed(0)
    other = ordinary.build(seed=1)
    assert repr(one.likelihood) == repr(other.likelihood)
    for (name, weight), (_, same) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(weight, same), name


@pytest.mark.parametrize("name", ["permuted-mnist-softmax-targets", "permuted-codes-cifar10-truncate-reordered"])
def test_a_run_of_symbols_trains_and_is_loaded_with_its_own_permutation(name, tmp_path, monkeypatch):
    for folder in ("WORK", "CHECKPOINTS", "RESULTS"):
        monkeypatch.setattr(paths, folder, tmp_path / folder.lower())
    run = runs.get(name)
    record = run.train("quick", seed=1, device="cpu", progress=False)
    assert record["seed"] == 1 and record["symbols"]["order"] == ("neighbours" if "reordered" in name else None)
    model = run.load(run.folder("quick", 1) / f"{name}.safetensors", "quick", seed=1)
    test = run.images("test", "quick", seed=1)[:40]
    again = -model.log_prob(test).mean().item()
    assert again == pytest.approx(-record["results"][-1]["log_likelihood"], rel=1e-4)


def test_every_training_of_the_sweep_is_a_job_that_a_cluster_could_run():
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--printshellcmds", "--nolock", "--executor", "slurm"]
    fresh = os.environ | {"PIXELLIB_RUNS": "build/runs of nobody"}
    plan = subprocess.run(
        [*command, "--jobs", "8", "sweep"], cwd=ROOT, env=fresh, text=True, check=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ).stdout  # fmt: skip
    trainings = set(sweep.trainings())
    assert len(trainings) == 122
    asked = re.findall(r"-m pixellib train (\S+) --profile reference --seed (\d)", plan)
    assert {(name, int(seed)) for name, seed in asked} == trainings | {("vqvae-mnist", 0), ("vqvae-cifar10", 0)}
    assert len(asked) == 124 and plan.count("runtime=120, mem_mb=4000") >= 124


def test_the_sweep_is_shipped_as_one_long_table(tmp_path, monkeypatch):
    for folder in ("WORK", "CHECKPOINTS", "RESULTS"):
        monkeypatch.setattr(paths, folder, tmp_path / folder.lower())
    monkeypatch.setattr(publish, "BENCHMARK", "no benchmark was run")
    name = "permuted-mnist-truncate-both"
    estimate = {"kind": "exact", "num_images": 100, "log_likelihood": -500.0, "standard_error": 5.0}
    record = {
        "name": name, "dataset": "mnist", "symbols": {"codes": None, "permuted": "inputs and targets"}, "seed": 2,
        "options": {"likelihood": "LogisticMixture(10)", "embedding": 16, "spread": False}, "num_parameters": 7,
        "settings": {"learning_rate": 0.1}, "hardware": "a laptop",
        "sampling_seconds_per_image": 0.5, "steps": 40, "training_minutes": 0.5,
        "history": [{"step": 20, "seconds": 10.0, "validation_bits": 2.0}],
        "results": [{"split": "test", "bits_per_dim": 1.0, **estimate, "bits_of": {"black": 0.1, "white": 3.0}}],
    }  # fmt: skip
    path = runs.get(name).folder("reference", 2) / f"{name}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    publish.ship_runs()
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["permuted.csv"]
    with open(tmp_path / "results" / "permuted.csv", newline="") as file:
        one, two = csv.DictReader(file)
    assert one["run"] == two["run"] == name and one["seed"] == "2" and one["permuted"] == "inputs and targets"
    assert (one["split"], one["step"], one["seconds"], one["bits"]) == ("validation", "20", "10.0", "2.0")
    assert (two["split"], two["step"], two["seconds"], two["bits"]) == ("final test", "40", "30.0", "1.0")
    assert (two["black"], two["between"], two["white"], one["black"]) == ("0.1", "", "3.0", "")
    assert two["standard_error"] == "0.01" and one["standard_error"] == ""

    # another machine trains another seed: what it does not have stays
    shipped = (tmp_path / "results" / "permuted.csv").read_text()
    path.unlink()
    other = runs.get(name).folder("reference", 0) / f"{name}.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps(record | {"seed": 0}))
    publish.ship_runs()
    lines = (tmp_path / "results" / "permuted.csv").read_text().splitlines()
    assert [lines[0], *lines[3:]] == shipped.splitlines() and len(lines) == 5
    assert (one["images"], one["head"], one["arm"]) == ("mnist", "truncated", "both")


def test_an_interval_over_seeds_is_that_of_student():
    mean, half = sweep.interval(pandas.Series([1.0, 2.0, 3.0]))
    assert (mean, half) == pytest.approx((2.0, 4.303 / 3**0.5))
    with pytest.raises(ValueError, match="all of them"):
        sweep.interval(pandas.Series({0: 1.0, 1: 2.0}) - pandas.Series({0: 1.0, 2: 0.5}))  # no seed has both but one


@pytest.mark.parametrize(
    ("excess", "half", "answer"),
    [
        ((0.03, 0.03, 0.03), 0.0, "It survives"),
        ((0.0, 0.1, 0.2), 0.248, "It is not decided"),
        ((1.0, 1.1, 1.2), 0.248, "It does not survive"),
    ],
)
def test_the_verdict_follows_from_the_table(excess, half, answer, tmp_path, monkeypatch):
    columns = "run,images,head,arm,seed,split,bits"
    rows = [
        f"a,grey,{head},{arm},{seed},final test,{4 + seed / 10 + more}"
        for seed in range(3)
        for head, arm, more in [
            ("softmax", "both", 0.0),
            ("softmax", "identity", 0.0),
            ("truncated", "both", excess[seed]),
            ("truncated", "identity", -0.02),
        ]
    ]
    (tmp_path / "permuted.csv").write_text("\n".join([columns, *rows]))
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    mean = sum(excess) / 3
    assert f"**{answer}:" in sweep.verdict() and f"needs {mean:.2f} ± {half:.2f} bits" in sweep.verdict()
    assert "needs 0.020 ± 0.000 fewer" in sweep.verdict()


def test_what_a_training_of_the_sweep_compares_is_read_off_its_name():
    parts = {(row["images"], row["head"], row["arm"]) for name, _ in sweep.trainings() for row in [sweep._parts(name)]}
    assert {"mnist", "grey", "codes-mnist", "codes-cifar10"} == {images for images, _, _ in parts}
    assert {"softmax", "censored", "truncated"} == {head for _, head, _ in parts}
    assert ("codes-mnist", "truncated", "raw") in parts and ("grey", "truncated", "both-k85-half-rate") in parts


@pytest.mark.slow
def test_a_training_of_the_sweep_goes_on_after_a_kill_and_a_finished_one_is_not_repeated(tmp_path):
    """A state is saved after a minute; what is begun again tells the step of that state before all others."""
    name = "permuted-mnist-truncate-both"

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
