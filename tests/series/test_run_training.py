"""Trainings of a run: what they leave, what goes on and what begins anew."""

import dataclasses
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import filelock
import pytest
import torch
from tiny_run import FILES, QUICK, changed, interrupt, train, weights

from pixellib import checkpoints, data
from pixellib.data.transforms import binarise
from pixellib.evaluation import evaluate
from pixellib.likelihoods import LogisticMixture
from pixellib.models import IWAE, GatedPixelCNN, PixelCNNpp
from pixellib.series import paths
from pixellib.series import train as trainer
from pixellib.series.provenance import WEIGHTS, code_version
from pixellib.training import OutOfTime


def test_held_out_images_are_binarised_once_and_training_images_are_left_grey(tiny, few):
    for split in ("validation", "test"):
        images = tiny.images(split)
        assert torch.equal(images, tiny.images(split)) and set(images.unique().tolist()) == {0, 255}
        grey = few[split][0]
        assert torch.equal(images[(grey == 0) | (grey == 255)], grey[(grey == 0) | (grey == 255)])
        assert abs(images.double().mean() - grey.double().mean()) < 1
    assert torch.equal(tiny.images("train"), few["train"][0])


def test_a_profile_that_a_run_lacks_is_refused_with_those_it_has(tiny):
    with pytest.raises(ValueError, match="run tiny has no profile 'paper'; it has quick, reference"):
        tiny.plan("paper")


def test_a_training_leaves_checkpoint_and_record_that_agree(tiny):
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
        "seed": 0,
        "steps": 6,
        "images_seen": 120,
        "num_parameters": sum(p.numel() for p in tiny.build("quick").parameters()),
        "code_version": code_version(),
        "identity": tiny.identity("quick"),
        "identity_hash": checkpoints.identity_hash(tiny.identity("quick")),
    }
    assert record.items() >= expected.items()
    assert record["identity"]["options"] == {"num_latents": [3], "num_hidden": [8], "num_samples": 2}
    assert record.keys() >= {"training_minutes", "hardware", "torch", "sampling_seconds_per_image"}
    assert [row["step"] for row in record["history"]] == [3, 6]
    measured = [(row["split"], row["kind"], row["num_samples"], row["num_images"]) for row in record["results"]]
    assert measured == [(split, "lower bound", 2, 50) for split in data.SPLITS] + [("test", "lower bound", 10, 50)]
    assert record["results"][3]["log_likelihood"] > record["results"][2]["log_likelihood"], "10 samples against 2"
    (kl,) = record["results"][3]["kl_per_layer"]
    assert kl > 0 and 0 <= record["results"][3]["active_units"] <= 3


def test_the_record_is_of_the_weights_as_stored_not_as_trained(tiny, few):
    record = train(tiny)
    stored = tiny.load(tiny.folder("quick") / "tiny.safetensors", "quick")
    grey = few["train"][0][:50]
    images = {
        "train": binarise(grey, torch.Generator().manual_seed(0)),
        "validation": tiny.images("validation")[:50],
        "test": tiny.images("test")[:50],
    }
    for row in record["results"]:
        samples = row["num_samples"] if row["num_samples"] != 2 else None
        again = evaluate(stored, images[row["split"]], num_samples=samples, device="cpu", precision="fp32")
        again = again.as_record(row["split"])
        assert row.items() >= again.items()


def test_a_training_reads_each_split_once(tiny, few, monkeypatch):
    read = Counter()

    def load(name, split):
        read[split] += 1
        return few[split]

    monkeypatch.setattr(data, "load", load)
    train(tiny)
    assert read == {"train": 1, "validation": 1, "test": 1}


def test_weights_of_a_training_are_those_of_before_runs_seeded_themselves(tiny, few, monkeypatch):
    """The same seed must give the same training: build draws as `train` always did."""
    begun, fit = [], trainer.fit

    def watched(model, *args, **kwargs):
        begun.append(weights(model).clone())
        return fit(model, *args, **kwargs)

    monkeypatch.setattr(trainer, "fit", watched)
    train(tiny, seed=3, evaluate_on=())
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        expected = IWAE(**tiny.options_of("quick"))
    assert torch.equal(begun[0], weights(expected))


def test_every_seed_is_a_training_of_its_own(tiny):
    for seed in (0, 1):
        train(tiny, seed=seed, evaluate_on=())
    zero, one = (tiny.load(tiny.folder("quick", seed) / "tiny.safetensors", "quick", seed) for seed in (0, 1))
    assert not torch.equal(weights(zero), weights(one))


def test_quick_always_trains_and_reference_only_where_there_is_nothing_to_load(tiny, capsys):
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

    paths.CHECKPOINTS.mkdir()
    shipped = paths.CHECKPOINTS / "tiny.safetensors"
    here.rename(shipped)
    assert had("reference")[1] == f"tiny: loaded {shipped}"
    _, said = had("reference", seed=1)
    assert said == "tiny: training 6 steps (reference profile)", "what was shipped is of seed 0"


def test_retrain_discards_a_finished_training_and_trains_anew(tiny, capsys):
    """It said "training" and computed nothing: the finished state was resumed."""
    first = tiny.load_or_train("reference", device="cpu")
    state = tiny.folder("reference") / "resume.pt"
    before = state.stat().st_mtime_ns
    again = tiny.load_or_train("reference", device="cpu", retrain=True)
    assert state.stat().st_mtime_ns > before and capsys.readouterr().out.count("training 6 steps") == 2
    assert torch.equal(weights(first), weights(again))


def test_an_interrupted_evaluation_leaves_nothing_that_passes_for_finished(tiny, monkeypatch):
    """Once a checkpoint without results lay there, and was loaded. The training itself is kept, and goes on."""
    folder = tiny.folder("reference")
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "evaluate_split", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tiny, "reference")
    assert not FILES & {path.name for path in folder.iterdir()}
    state = (folder / "resume.pt").stat().st_mtime_ns
    for retrain in (False, True):  # there is no finished training that retrain could discard
        model = tiny.load_or_train("reference", device="cpu", retrain=retrain)
        assert model.record["results"]
        if not retrain:
            assert (folder / "resume.pt").stat().st_mtime_ns == state
            for name in FILES:
                (folder / name).unlink()
    assert (folder / "resume.pt").stat().st_mtime_ns == state


def test_a_training_that_begins_leaves_no_older_result_beside_it(tiny, monkeypatch):
    """It began anew, and its evaluation was interrupted: what an older training left must not pass for its result."""
    train(tiny, evaluate_on=())
    folder = tiny.folder("quick")
    monkeypatch.setattr(trainer, "evaluate_split", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(changed(tiny, settings=dataclasses.replace(QUICK, steps=7)), resume=False)
    assert not FILES & {path.name for path in folder.iterdir()}


def test_training_again_goes_on_or_begins_anew_as_asked(tiny):
    """A finished training is not repeated; resume=False forgets it. With other settings neither is done unasked."""
    train(tiny, evaluate_on=())
    state = tiny.folder("quick") / "resume.pt"
    record = state.with_name("tiny.json")
    finished = [path.stat().st_mtime_ns for path in (state, record)]
    train(tiny, evaluate_on=())
    assert [path.stat().st_mtime_ns for path in (state, record)] == finished
    state.unlink()  # as where only what ships was copied from another machine
    train(tiny, evaluate_on=())
    assert record.stat().st_mtime_ns == finished[1]
    longer = changed(tiny, settings=dataclasses.replace(QUICK, steps=7))
    with pytest.raises(checkpoints.CheckpointError, match=r"steps.* 6, not 7"):
        train(longer, evaluate_on=())
    assert train(longer, evaluate_on=(), resume=False)["steps"] == 7


def test_a_run_can_begin_where_another_ended_and_counts_its_cost(tiny):
    """With a learning rate of nearly nothing it ends where the other did: nothing was initialised anew."""
    still = dataclasses.replace(QUICK, steps=2, learning_rate=1e-12, ema_decay=None, validate_every=1)
    second = changed(
        dataclasses.replace(tiny, name="second", options={**tiny.options, "num_samples": 4}),
        "reference", settings=still, start=tiny,
    )  # fmt: skip
    first = tiny.load_or_train("reference", device="cpu")
    model = second.load_or_train("reference", device="cpu")
    torch.testing.assert_close(weights(model), weights(first), atol=1e-6, rtol=0)
    assert model.num_samples == 4 and model.record["start"] == "tiny"
    assert model.record["images_seen"] == first.record["images_seen"] + 2 * QUICK.batch_size
    assert model.record["start_images_seen"] == first.record["images_seen"]
    assert model.record["training_minutes"] >= first.record["training_minutes"]
    assert model.record["identity"]["upstream"]["start"] == {"run": "tiny", WEIGHTS: first.record[WEIGHTS]}


def test_a_run_can_take_the_trunk_of_another_and_train_a_head_of_its_own(tiny):
    """A softmax and a mixture on the same frozen network: every weight but those of the last layer stays, also under
    Muon and in the average of weights.
    """
    options = {"channels": 1, "size": (28, 28), "num_layers": 1, "num_filters": 4, "kernel_size": 3}
    gated = {"family": GatedPixelCNN, "options": options, "unit": "bits", "binarised": False}
    first = changed(dataclasses.replace(tiny, name="first", **gated), "reference", options={}, num_samples=None)
    mixture = {**options, "likelihood": LogisticMixture(3), "init_output": True}
    still = dataclasses.replace(QUICK, steps=2, muon_lr=0.02, validate_every=1)
    second = dataclasses.replace(tiny, name="second", **{**gated, "options": mixture})
    second = changed(second, "reference", settings=still, trunk=first, options={}, num_samples=None)
    model = second.load_or_train("reference", device="cpu")
    trunk = first.load_or_train("reference", device="cpu").state_dict()
    heads = [key for key in model.state_dict() if key.startswith("last.last.")]
    assert heads and model.state_dict().keys() == trunk.keys()
    for key, weight in model.state_dict().items():
        assert key in heads or torch.equal(weight, trunk[key])
    centres = torch.tensor([-2 / 3, 0, 2 / 3])  # where the components of an output layer begin
    torch.testing.assert_close(model.state_dict()["last.last.bias"][3:6], centres, atol=0.1, rtol=0)
    assert model.record["identity"]["upstream"].keys() == {"trunk"} and model.record["start"] == "first"


def test_layers_that_a_trunk_has_not_are_trained_with_the_head(tiny):
    """A hidden layer before the head is not the trunk's, so it must move; everything else must stay."""
    options = {"channels": 1, "size": (28, 28), "num_filters": 4, "num_resnets": 1, "likelihood": LogisticMixture(2)}
    network = {"family": PixelCNNpp, "options": options, "unit": "bits"}
    first = changed(dataclasses.replace(tiny, name="first", **network), "reference", options={}, num_samples=None)
    still = dataclasses.replace(QUICK, steps=2, muon_lr=0.02, validate_every=1)
    deep = dataclasses.replace(first, name="second", options={**options, "num_head_filters": 6})
    deep = changed(deep, "reference", settings=still, trunk=first)
    weights, trunk = (run.load_or_train("reference", device="cpu").state_dict() for run in (deep, first))
    begun = deep.build("reference").state_dict()
    assert any(key.startswith("hidden.") for key in weights)
    for key, weight in weights.items():
        if key.startswith("hidden."):
            assert not torch.equal(weight, begun[key].half().float())
        elif not key.startswith("last."):
            assert torch.equal(weight, trunk[key])


def test_what_a_run_begins_with_is_trained_first_and_stops_at_the_same_time(tiny):
    second = changed(dataclasses.replace(tiny, name="second"), "reference", start=tiny)
    with pytest.raises(OutOfTime):
        train(second, "reference", until=0)
    assert (tiny.folder("reference") / "resume.pt").exists() and not second.folder("reference").exists()
    record = train(second, "reference")
    assert record["start"] == "tiny" and tiny.checkpoint_path("reference")


def test_a_run_cannot_begin_with_another_network(tiny):
    second = changed(dataclasses.replace(tiny, name="second"), "reference", start=tiny, options={"num_latents": (5,)})
    with pytest.raises(checkpoints.CheckpointError, match="checkpoint of tiny does not fit the model"):
        train(second, "reference")


def test_two_processes_do_not_train_the_same_run(tiny):
    folder = tiny.folder("quick")
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / ".run.lock"), pytest.raises(RuntimeError, match="another process trains tiny"):
        train(tiny)
    train(tiny, evaluate_on=())


def test_who_waits_for_another_training_of_the_run_takes_its_result(tiny, capsys, monkeypatch):
    """Two notebooks may need the same run at the same time."""
    with ThreadPoolExecutor() as pool:
        with filelock.FileLock(tiny.folder("reference") / ".use.lock"):
            waiting = pool.submit(tiny.load_or_train, "reference", device="cpu")
            while "training 6 steps" not in capsys.readouterr().out:  # it has seen that nothing is there
                assert not waiting.done()
            train(tiny, "reference")
            monkeypatch.setattr(trainer, "fit", None)  # who trains from here on fails
        model = waiting.result(timeout=60)
    assert torch.equal(weights(model), weights(tiny.load_finished("reference")))


def test_loading_leaves_the_global_generator_alone(tiny):
    train(tiny, evaluate_on=())
    before = torch.get_rng_state()
    tiny.load(tiny.folder("quick") / "tiny.safetensors", "quick")
    assert torch.equal(before, torch.get_rng_state())


def test_a_device_that_is_not_here_is_refused_before_anything_is_trained(tiny):
    with pytest.raises(ValueError, match="device 'tpu' is not available here; choose one of auto, cpu"):
        tiny.load_or_train("quick", device="tpu")
    assert not paths.WORK.exists()
