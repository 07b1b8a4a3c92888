"""What a training is, is compared: states and checkpoints of another one are refused, naming what differs."""

import dataclasses

import pytest
from tiny_run import changed, interrupt, train

from pixellib import checkpoints
from pixellib.likelihoods import LogisticMixture
from pixellib.models import VAE
from pixellib.series import paths, runs
from pixellib.series import train as trainer
from pixellib.series.provenance import WEIGHTS, code_version, differences

OTHERS = {
    "options": ({"options": {"num_latents": (3,), "num_hidden": (8,), "num_samples": 3}}, r"num_samples"),
    "binarisation": ({"binarised": False}, "binarised"),
    "data set": ({"dataset": "offline_crops"}, "dataset"),
    "initialisation": ({"initialise": False}, "initialise"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_another_training_left_is_refused_and_what_differs_is_named(other, tiny):
    """Of weights of the same shapes: old ones were returned under the new name."""
    changes, named = OTHERS[other]
    train(tiny, evaluate_on=())
    folder = tiny.folder("quick")
    second = dataclasses.replace(tiny, **changes)
    with pytest.raises(checkpoints.CheckpointError, match=rf"tiny\.safetensors does not fit run tiny .*{named}"):
        second.load(folder / "tiny.safetensors", "quick")
    with pytest.raises(checkpoints.CheckpointError, match=rf"holds another training of tiny.*{named}.*--fresh"):
        train(second, evaluate_on=())
    (folder / "tiny.json").unlink()  # as if it had not been finished
    with pytest.raises(checkpoints.CheckpointError, match=rf"resume\.pt .*{named}"):
        train(second, evaluate_on=())


def test_a_changed_beta_or_likelihood_is_another_training(tiny):
    """None changes the shape of a weight."""
    options = {"channels": 1, "size": (28, 28), "num_latents": (2,), "num_filters": 4, "likelihood": LogisticMixture(1)}
    run = dataclasses.replace(tiny, family=VAE, options=options, binarised=False, unit="bits")
    train(run, evaluate_on=())
    path = run.folder("quick") / "tiny.safetensors"
    for change, named in (
        ({"beta": 7.0}, "beta"),
        ({"likelihood": LogisticMixture(1, tails="truncated")}, "likelihood.*censored.*truncated"),
        ({"likelihood": LogisticMixture(1, min_log_scale=-9.0)}, "likelihood"),
    ):
        other = dataclasses.replace(run, options=options | change)
        with pytest.raises(checkpoints.CheckpointError, match=named):
            other.load(path, "quick")
        with pytest.raises(checkpoints.CheckpointError, match=named):
            train(other, evaluate_on=())


def test_a_checkpoint_of_another_run_profile_or_seed_is_refused(tiny):
    train(tiny, evaluate_on=())
    path = tiny.folder("quick") / "tiny.safetensors"
    same = dataclasses.replace(tiny, plans={name: tiny.plan("quick") for name in ("quick", "reference")})
    with pytest.raises(
        checkpoints.CheckpointError, match=r"fit run tiny \(reference, .*profile is quick, not reference"
    ):
        same.load(path, "reference")
    with pytest.raises(checkpoints.CheckpointError, match="its seed is 0, not 1"):
        tiny.load(path, "quick", seed=1)
    with pytest.raises(checkpoints.CheckpointError, match="its name is tiny, not iwae-k1"):
        runs.get("iwae-k1").load(path)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        tiny.load(path.with_name("none"))


def test_a_checkpoint_that_does_not_say_what_it_is_of_is_refused_and_not_called_loaded(tiny, capsys):
    paths.CHECKPOINTS.mkdir()
    checkpoints.save(paths.CHECKPOINTS / "tiny.safetensors", tiny.build("reference").state_dict(), {"name": "tiny"})
    with pytest.raises(checkpoints.CheckpointError, match="does not say which training it is of"):
        tiny.load_or_train("reference", device="cpu")
    assert "loaded" not in capsys.readouterr().out


def test_a_checkpoint_of_another_upstream_is_refused_but_a_missing_one_says_nothing(tiny):
    second = changed(dataclasses.replace(tiny, name="second"), "reference", start=tiny)
    path = second.folder("reference") / "second.safetensors"
    train(second, "reference", evaluate_on=())
    upstream = tiny.folder("reference") / "tiny.safetensors"
    tensors, header = checkpoints.load(upstream)
    checkpoints.save(upstream, {name: t + 1 for name, t in tensors.items()}, header)
    with pytest.raises(checkpoints.CheckpointError, match=f"upstream.start.{WEIGHTS}"):
        second.load(path, "reference")
    upstream.unlink()
    second.load(path, "reference")


def test_only_what_decides_the_weights_is_part_of_the_identity(tiny):
    """Titles, what is evaluated and published values are not; every other field is."""
    same = dataclasses.replace(tiny, title="new", ships=False, anchor=(1.0, "a paper"), seeds=3, evaluate_on=())
    assert not differences(same.identity("quick"), tiny.identity("quick"))
    assert not differences(changed(tiny, num_test=9).identity("quick"), tiny.identity("quick"))
    for change in OTHERS.values():
        assert differences(dataclasses.replace(tiny, **change[0]).identity("quick"), tiny.identity("quick"))


def test_the_code_version_of_a_record_is_that_of_the_start_of_its_training(tiny, monkeypatch):
    """A training that was interrupted, went on under newer code and ended there did not begin with that code."""
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "code_version", lambda: "0.1.0+old")
        patch.setattr(trainer, "evaluate_split", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tiny)
    assert train(tiny)["code_version"] == "0.1.0+old"
    assert train(tiny, resume=False)["code_version"] == code_version()


def test_the_code_version_changes_with_the_library_and_not_with_the_machinery(monkeypatch):
    version = code_version()
    assert version == code_version() and version.startswith("0.")
    original = type(paths.CHECKPOINTS).read_bytes

    def edited(part):
        code_version.cache_clear()
        monkeypatch.setattr(
            type(paths.CHECKPOINTS), "read_bytes",
            lambda path: original(path) + (b"#" if path.as_posix().endswith(part) else b""),
        )  # fmt: skip
        return code_version()

    assert edited("pixellib/training/loop.py") != version
    assert edited("pixellib/series/publish.py") == version
    code_version.cache_clear()
