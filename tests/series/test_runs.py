"""A run is found by name; every run can begin; what was shipped belongs to its run."""

import json

import pytest
import torch

from pixellib import checkpoints, data
from pixellib.series import paths, runs
from pixellib.series.provenance import WEIGHTS
from pixellib.series.run import PROFILES


def test_names_are_found_and_what_is_not_is_answered_with_the_choices():
    assert runs.names()[:3] == ["iwae-k1", "iwae-k5", "iwae-k50"]
    assert all(runs.get(name).name == name for name in runs.names())
    with pytest.raises(ValueError, match=r"unknown run 'iwae-k7'; there are iwae-k.*and others"):
        runs.get("iwae-k7")
    with pytest.raises(ValueError, match="unknown profile 'fast'; choose one of quick, reference, paper"):
        runs.get("iwae-k1").plan("fast")


def test_no_two_runs_share_a_name_and_none_is_lost():
    """Families are lists; a name used twice would hide the first run behind the second."""
    from pixellib.series import catalogue

    families = [module.RUNS for module in vars(catalogue).values() if hasattr(module, "RUNS")]
    assert sum(map(len, families)) == len(runs.names()) > 200


@pytest.mark.parametrize("name", runs.names())
def test_every_plan_can_begin(name):
    """Its model is built and scores an image of its data set, its data set exists, its curve has points."""
    run = runs.get(name)
    sizes = next(row for row in data.describe() if row["name"] == run.dataset)
    assert run.unit in ("nats", "bits") and set(run.plans) == set(PROFILES)
    for profile in run.plans:
        plan, model = run.plan(profile), run.build(profile)
        shape = (model.channels, *model.size) if run.symbols else sizes["shape"]
        x = torch.zeros(2, *shape, dtype=torch.uint8)
        condition = None if getattr(model, "num_classes", None) is None else torch.tensor([0, model.num_classes - 1])
        assert torch.isfinite(model.log_prob(x, condition)).all()
        assert plan.settings.batch_size <= sizes["sizes"]["train"]
        assert plan.settings.steps // plan.settings.validate_every >= 3
        if plan.num_samples is None:  # its own bound will do for a run that serves another one, or varies beta
            others = map(runs.get, runs.names())
            serves = any(run in [other for other, _ in each.upstream().values()] for each in others)
            assert model.kind == "exact" or serves or model.beta != 1


@pytest.mark.parametrize("name", runs.names())
def test_no_two_trainings_are_of_one_identity(name):
    """Else one of them could be loaded as the other: profile, seed and every option of a run must show in it."""
    run = runs.get(name)
    hashes = {checkpoints.identity_hash(run.identity(profile, seed)) for profile in run.plans for seed in (0, 1)}
    assert len(hashes) == 2 * len(run.plans)


def test_every_checkpoint_shipped_fits_its_run_and_its_record():
    shipped = {path.stem for path in paths.CHECKPOINTS.glob("*.safetensors")}
    assert shipped == {name for name in runs.names() if runs.get(name).ships and runs.record_path(name).exists()}
    for name in shipped:
        model = runs.get(name).load(paths.CHECKPOINTS / f"{name}.safetensors")
        assert model.record == runs.record(name), name
        assert model.record[WEIGHTS] == runs.get(name).weights_digest()


def test_every_record_shipped_is_of_its_runs_identity():
    """A catalogue that changes, or a default that does, makes records untrue; then they must be trained again."""
    files = {path.name for path in paths.RESULTS.glob("*.json")} - set(paths.MEASUREMENTS)
    for run in map(runs.get, runs.names()):
        for seed in range(run.seeds):
            path = runs.record_path(run.name, seed)
            if not path.exists():
                continue
            files.remove(path.name)
            record = runs.record(run.name, seed)
            assert (record["name"], record["profile"], record["seed"]) == (run.name, "reference", seed)
            assert record["identity"] == run.identity("reference", seed), path
            assert record["identity_hash"] == checkpoints.identity_hash(record["identity"]), path
            assert record["results"] and record["factors"] == dict(run.factors), path
    assert not files, "records of trainings that no run asks for"


def test_the_curve_of_a_training_in_parts_counts_the_images_of_all_parts():
    first, second = (runs.record(f"pixelcnnpp-mnist-softmax-part{i}") for i in (1, 2))
    rows = runs.curve(second)
    assert [row["images_seen"] for row in rows] == sorted({row["images_seen"] for row in rows})
    assert (
        rows[-1]["images_seen"] == second["images_seen"] > first["images_seen"] == runs.curve(first)[-1]["images_seen"]
    )
    own = {**rows[-1]}
    assert own.pop("images_seen") and own == second["history"][-1]


def test_a_run_without_a_record_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    with pytest.raises(FileNotFoundError, match="run vae-dmol has no record yet; train it with: pixellib train vae-dm"):
        runs.record("vae-dmol")
    with pytest.raises(FileNotFoundError, match="pixellib train vae-dmol --seed 2"):
        runs.record("vae-dmol", 2)
    with pytest.raises(ValueError, match="unknown run 'large'"):
        runs.record("large")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda record: "{", r"vae-dmol\.json"),
        (lambda record: json.dumps([1]), r"vae-dmol\.json"),
        (lambda record: json.dumps({k: v for k, v in record.items() if k != "results"}), r"vae-dmol\.json.*results"),
        (lambda record: json.dumps(record | {"name": "vae-dmol-large"}), "is the record of vae-dmol-large, seed 0"),
        (lambda record: json.dumps(record | {"seed": 1}), "is the record of vae-dmol, seed 1"),
    ],
)
def test_a_record_that_is_broken_or_another_trainings_is_refused_by_its_files_name(
    change, complaint, tmp_path, monkeypatch
):
    record = runs.record("vae-dmol")
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    (tmp_path / "vae-dmol.json").write_text(change(record))
    with pytest.raises(RuntimeError, match=complaint):
        runs.record("vae-dmol")


def test_a_model_is_built_from_its_seed_and_nothing_else():
    """Untrained weights drawn twice are the same, whatever was drawn before, and nothing else is disturbed."""
    run = runs.get("vae-dmol")
    before = torch.get_rng_state()
    first = run.build(seed=1).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    again, other = run.build(seed=1).state_dict(), run.build(seed=2).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    assert not all(torch.equal(weight, other[name]) for name, weight in first.items())
