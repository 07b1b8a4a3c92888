"""A run is a name that stands for one training: found by name, repeated by seed, loaded only where it fits."""

import dataclasses
import json

import pytest
import torch

from pixellib import checkpoints, data
from pixellib.evaluation import evaluate
from pixellib.models import IWAE
from pixellib.series import paths, runs
from pixellib.series.permuted import sweep
from pixellib.series.run import code_version
from pixellib.training import Settings

QUICK = Settings(steps=6, batch_size=20, ema_decay=0.5, validate_every=3)


@pytest.fixture(scope="module")
def few():
    """160 real images of each split."""
    return {split: tuple(part[:160] for part in data.load("mnist", split)) for split in data.SPLITS}


@pytest.fixture
def tiny(few, tmp_path, monkeypatch):
    """A run of a second or less, registered and working in a folder of its own."""
    run = runs.Run(
        name="tiny",
        title="a run of six steps",
        dataset="mnist",
        family=IWAE,
        options={"num_latents": (3,), "num_hidden": (8,), "num_samples": 2},
        plans={
            "quick": runs.Plan(QUICK, num_images=60, num_test=50, num_validation=50, num_samples=10),
            "reference": runs.Plan(QUICK, options={"num_latents": (4,)}, num_samples=10),
        },
        unit="nats",
        binarised=True,
    )
    for name in ("WORK", "CHECKPOINTS", "RESULTS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    monkeypatch.setitem(runs._RUNS, "tiny", run)
    monkeypatch.setattr(data, "load", lambda name, split: few[split])
    return run


def train(run, profile="quick", evaluate_on=("train", "validation", "test"), **kwargs):
    return dataclasses.replace(run, evaluate_on=evaluate_on).train(profile, progress=False, device="cpu", **kwargs)


def weights(model):
    return torch.cat([t.flatten() for t in model.state_dict().values()])


def test_names_are_found_and_what_is_not_is_answered_with_the_choices():
    assert runs.names()[:5] == ["iwae-k1", "iwae-k5", "iwae-k50", "iwae2-k1", "iwae2-k50"]
    assert all(runs.get(name).name == name for name in runs.names())
    with pytest.raises(
        ValueError, match="unknown run 'iwae-k7'; choose one of iwae-k1, iwae-k5, iwae-k50, iwae2-k1, iwae2-k50"
    ):
        runs.get("iwae-k7")
    with pytest.raises(ValueError, match="unknown profile 'fast'; choose one of quick, reference, paper"):
        runs.get("iwae-k1").plan("fast")


def test_a_run_can_begin_where_another_ended_and_counts_its_cost(tiny):
    """With a learning rate of nearly nothing it ends where the other did: nothing was initialised anew."""
    plan = tiny.plan("reference")
    still = dataclasses.replace(QUICK, steps=2, learning_rate=1e-12, ema_decay=None, validate_every=1)
    plans = {"reference": dataclasses.replace(plan, settings=still, start=tiny)}
    second = dataclasses.replace(tiny, name="second", plans=plans, options={**tiny.options, "num_samples": 4})
    first = tiny.load_or_train("reference", device="cpu")
    model = second.load_or_train("reference", device="cpu")
    torch.testing.assert_close(weights(model), weights(first), atol=1e-6, rtol=0)
    assert model.num_samples == 4 and model.record["start"] == "tiny"
    assert model.record["images_seen"] == first.record["images_seen"] + 2 * QUICK.batch_size
    assert model.record["start_images_seen"] == first.record["images_seen"]
    assert model.record["training_minutes"] >= first.record["training_minutes"]


def test_a_run_cannot_begin_with_another_network(tiny):
    plan = dataclasses.replace(tiny.plan("reference"), start=tiny, options={"num_latents": (5,)})
    second = dataclasses.replace(tiny, name="second", plans={"reference": plan})
    with pytest.raises(checkpoints.CheckpointError, match="checkpoint of tiny does not fit the model"):
        train(second, "reference")


def test_a_profile_that_a_run_lacks_is_refused_with_those_it_has(tiny):
    with pytest.raises(ValueError, match="run tiny has no profile 'paper'; it has quick, reference"):
        tiny.plan("paper")


@pytest.mark.parametrize("name", runs.names())
def test_every_plan_can_begin(name):
    """Its model is built and scores an image of its data set, its data set exists, its curve has points."""
    run = runs.get(name)
    sizes = next(row for row in data.describe() if row["name"] == run.dataset)
    assert run.unit in ("nats", "bits")
    for profile in run.plans:
        plan, model = run.plan(profile), run.build(profile)
        shape = (1, *model.size) if run.symbols else sizes["shape"]
        x = torch.zeros(2, *shape, dtype=torch.uint8)
        condition = None if getattr(model, "num_classes", None) is None else torch.tensor([0, model.num_classes - 1])
        assert torch.isfinite(model.log_prob(x, condition)).all()
        assert plan.settings.batch_size <= (plan.num_images or sizes["sizes"]["train"])
        assert plan.settings.steps // plan.settings.validate_every >= 4
        if plan.num_samples is None:  # its own bound will do for a run that serves another one, or varies beta
            others = list(map(runs.get, runs.names()))
            serves = any(run in (other.plans["reference"].start, other.codes) for other in others)
            assert model.kind == "exact" or serves or model.beta != 1


def test_every_checkpoint_shipped_fits_its_run_and_its_record():
    compared = sweep.table()
    for path in paths.CHECKPOINTS.glob("*.safetensors"):
        model = runs.get(path.stem).load(path)
        if runs.get(path.stem).symbols:  # its record is a part of the sweep's table
            images, head, arm = path.stem.removeprefix("permuted-").split("-")
            assert sweep.bits(images, head, arm)[0] == model.record["results"][-1]["bits_per_dim"], path
        else:
            assert model.record == runs.record(path.stem), path
    for run in map(runs.get, runs.names()):
        recorded = [seed for seed in range(run.seeds) if runs.record_path(run.name, seed).exists()]
        for seed in recorded:
            record = runs.record(run.name, seed)
            assert (record["name"], record["profile"], record["seed"]) == (run.name, "reference", seed)
            assert record["results"], run.name
        if run.symbols:
            recorded = compared.loc[compared["run"] == run.name, "seed"].tolist()
        shipped = (paths.CHECKPOINTS / f"{run.name}.safetensors").exists()
        assert shipped == (run.ships and 0 in recorded), run.name


def test_a_run_without_a_record_says_how_to_make_one(tiny):
    with pytest.raises(FileNotFoundError, match="run tiny has no record yet; train it with: pixellib train tiny"):
        runs.record("tiny")
    with pytest.raises(ValueError, match="unknown run 'large'"):
        runs.record("large")


def test_held_out_images_are_binarised_once_and_training_images_are_left_grey(tiny, few):
    for split in ("validation", "test"):
        images = tiny.images(split)
        assert torch.equal(images, tiny.images(split)) and set(images.unique().tolist()) == {0, 255}
        grey = few[split][0]
        assert torch.equal(images[(grey == 0) | (grey == 255)], grey[(grey == 0) | (grey == 255)])
        assert abs(images.double().mean() - grey.double().mean()) < 1
    assert torch.equal(tiny.images("train"), few["train"][0])


def test_a_training_leaves_checkpoint_and_record_that_agree(tiny, capsys):
    record = train(tiny)
    folder = tiny.folder("quick")
    assert json.loads((folder / "tiny.json").read_text()) == record
    tensors, header = checkpoints.load(folder / "tiny.safetensors")
    assert header == record
    assert {t.dtype for t in tensors.values()} == {torch.float16}
    expected = {
        "name": "tiny",
        "title": "a run of six steps",
        "dataset": "mnist, binarised",
        "profile": "quick",
        "options": {"num_latents": [3], "num_hidden": [8], "num_samples": 2},
        "seed": 0,
        "steps": 6,
        "images_seen": 120,
        "num_parameters": sum(p.numel() for p in tiny.build("quick").parameters()),
        "code_version": code_version(),
    }
    assert record.items() >= expected.items()
    assert record.keys() >= {"settings", "training_minutes", "hardware", "torch", "sampling_seconds_per_image"}
    assert [row["step"] for row in record["history"]] == [3, 6]
    measured = [(row["split"], row["kind"], row["num_samples"], row["num_images"]) for row in record["results"]]
    assert measured == [(split, "lower bound", 2, 50) for split in data.SPLITS] + [("test", "lower bound", 10, 50)]
    assert record["results"][3]["log_likelihood"] > record["results"][2]["log_likelihood"], "10 samples against 2"

    stored = tiny.load(folder / "tiny.safetensors", "quick")
    again = evaluate(stored, tiny.images("test")[:50], num_samples=10, device="cpu").as_record("test")
    assert record["results"][3].items() >= again.items(), "the record is of the weights as stored, not as trained"


def test_every_seed_is_a_training_of_its_own(tiny):
    for seed in (0, 1):
        train(tiny, seed=seed, evaluate_on=())
    zero, one = (tiny.load(tiny.folder("quick", seed) / "tiny.safetensors", "quick") for seed in (0, 1))
    assert not torch.equal(weights(zero), weights(one))


def test_quick_always_trains_and_reference_only_where_there_is_nothing_to_load(tiny, capsys, monkeypatch):
    """Which of the two it did is printed; either way the model is the trained one, ready to be used."""

    def had(profile, **kwargs):
        torch.manual_seed(99)
        model = tiny.load_or_train(profile, device="cpu", **kwargs)
        assert not model.training and model.record["results"]
        return model, capsys.readouterr().out.strip()

    first, said = had("quick")
    assert said == "tiny: training 6 steps (quick profile)"
    second, said = had("quick")
    assert said == "tiny: training 6 steps (quick profile)"
    assert torch.equal(weights(first), weights(second))

    trained, said = had("reference")
    assert said == "tiny: training 6 steps (reference profile)"
    here = tiny.folder("reference") / "tiny.safetensors"
    loaded, said = had("reference")
    assert said == f"tiny: loaded {here}"
    assert torch.equal(weights(trained), weights(loaded)) and loaded.num_latents == (4,)
    _, said = had("reference", retrain=True)
    assert said == "tiny: training 6 steps (reference profile)"

    paths.CHECKPOINTS.mkdir()
    shipped = paths.CHECKPOINTS / "tiny.safetensors"
    here.rename(shipped)
    assert had("reference")[1] == f"tiny: loaded {shipped}"
    _, said = had("reference", seed=1)
    assert said == "tiny: training 6 steps (reference profile)", "what was shipped is of seed 0"


def test_loading_leaves_the_global_generator_alone(tiny):
    train(tiny, evaluate_on=())
    before = torch.get_rng_state()
    tiny.load(tiny.folder("quick") / "tiny.safetensors", "quick")
    assert torch.equal(before, torch.get_rng_state())


def test_a_checkpoint_of_another_run_or_other_options_is_refused(tiny):
    train(tiny, evaluate_on=())
    path = tiny.folder("quick") / "tiny.safetensors"
    with pytest.raises(
        checkpoints.CheckpointError,
        match=r"tiny\.safetensors does not fit run tiny \(reference\): its options is .*\[3\].*, not .*\[4\]",
    ):
        tiny.load(path, "reference")
    with pytest.raises(
        checkpoints.CheckpointError, match=r"does not fit run iwae-k1 .*: its name is tiny, not iwae-k1"
    ):
        runs.get("iwae-k1").load(path)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        tiny.load(path.with_name("none"))


def test_training_again_goes_on_or_begins_anew_as_asked(tiny, monkeypatch):
    """A finished training is not repeated; resume=False forgets it. With other settings neither is done unasked."""
    train(tiny, evaluate_on=())
    state = tiny.folder("quick") / "resume.pt"
    finished = state.stat().st_mtime_ns
    train(tiny, evaluate_on=())
    assert state.stat().st_mtime_ns == finished
    monkeypatch.setitem(tiny.plans, "quick", runs.Plan(Settings(steps=7, batch_size=20)))
    with pytest.raises(checkpoints.CheckpointError, match="steps 6, not 7"):
        train(tiny, evaluate_on=())
    assert train(tiny, evaluate_on=(), resume=False)["steps"] == 7


def test_a_device_that_is_not_here_is_refused_before_anything_is_trained(tiny):
    with pytest.raises(ValueError, match="device 'tpu' is not available here; choose one of auto, cpu"):
        tiny.load_or_train("quick", device="tpu")
    assert not paths.WORK.exists()


def test_the_code_version_changes_with_the_code(monkeypatch):
    version = code_version()
    assert version == code_version() and version.startswith("0.")
    original = type(paths.CHECKPOINTS).read_bytes
    monkeypatch.setattr(type(paths.CHECKPOINTS), "read_bytes", lambda path: original(path) + b"#")
    assert code_version() != version
