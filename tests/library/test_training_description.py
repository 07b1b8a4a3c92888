"""A folder's training is told apart from any other by what it is, and no two processes train in one folder."""

import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from toys import Toy

from pixellib import checkpoints
from pixellib.data import IntensityPermutation, binarise
from pixellib.likelihoods import Categorical, LogisticMixture
from pixellib.models import IWAE, VAE, GatedPixelCNN
from pixellib.training import Settings, fit
from pixellib.training.description import describe_model, describe_object, describe_training, tensor_sha256

ROOT = Path(__file__).parents[2]
IMAGES = torch.randint(256, (6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6)
SETTINGS = Settings(steps=2, batch_size=2)
MIXTURE = {"num_components": 2, "coupled": False}


def vae(**options):
    return VAE(
        **{
            "channels": 1,
            "size": (8, 8),
            "num_latents": (2,),
            "num_filters": 4,
            "likelihood": Categorical(6),
            **options,
        }
    )


def gated(**options):
    return GatedPixelCNN(
        **{"size": (8, 8), "num_layers": 1, "num_filters": 4, "kernel_size": 3, "likelihood": Categorical(), **options}
    )


def train(folder, model, images=IMAGES, settings=SETTINGS, **arguments):
    return fit(model, images, settings, folder=folder, device="cpu", progress=False, **arguments)


def one_pixel_changed(images):
    images = images.clone()
    images[5, 0, 7, 7] ^= 1
    return images


def two_labels_changed(labels):
    return labels[[0, 1, 2, 3, 5, 4]]


@pytest.mark.parametrize(
    ("model", "other", "named"),
    [
        (vae, lambda: vae(beta=7.0), "model.beta is 1.0, not 7.0"),
        (vae, lambda: vae(num_samples=5), "model.num_samples is 1, not 5"),
        (
            lambda: vae(likelihood=LogisticMixture(tails="censored", **MIXTURE)),
            lambda: vae(likelihood=LogisticMixture(tails="truncated", **MIXTURE)),
            r"model.likelihood is LogisticMixture\(.*censored.*, not LogisticMixture\(",
        ),
        (
            lambda: gated(likelihood=Categorical(6)),
            lambda: gated(likelihood=LogisticMixture(2)),
            r"model.likelihood is Categorical\(.*, not LogisticMixture\(",
        ),
        (gated, lambda: gated(dilations=(2,)), r"model.*dilation"),
    ],
    ids=["beta", "number of samples", "tails", "likelihood of equal shape", "dilation"],
)
def test_another_model_of_equal_weights_is_refused(tmp_path, model, other, named):
    """Its weights have the same names and shapes, so nothing else would tell them apart."""
    shapes = [{name: t.shape for name, t in m().state_dict().items()} for m in (model, other)]
    assert shapes[0] == shapes[1]
    few_levels = IMAGES % 6
    with torch.random.fork_rng():
        train(tmp_path, model(), few_levels)
        kept = (tmp_path / "resume.pt").read_bytes()
        with pytest.raises(checkpoints.CheckpointError, match=rf"belongs to another training \(.*{named}") as error:
            train(tmp_path, other(), few_levels)
        assert "\n" not in str(error.value)
        assert (tmp_path / "resume.pt").read_bytes() == kept
        assert train(tmp_path, model(), few_levels).steps == 2, "the unchanged one is found finished"


class Constant(Toy):
    """A loss that is its only weight."""

    kind = "exact"

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def loss(self, x, condition=None):
        return self.weight * 1

    def log_prob(self, x, condition=None):
        return self.weight.expand(len(x))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"images": one_pixel_changed(IMAGES)}, "images is .*, not .*"),
        ({"labels": two_labels_changed(LABELS)}, "labels is "),
        ({"labels": None, "validation_labels": None}, "labels is .*, not None; validation_labels is .*, not None"),
        ({"validation": one_pixel_changed(IMAGES)}, "validation is "),
        ({"transform": None}, "transform is binarise, not None"),
        ({"transform": IntensityPermutation(seed=1)}, "transform is binarise, not IntensityPermutation.256, 1, 256"),
        ({"settings": Settings(steps=3, batch_size=2)}, "settings.steps is 2, not 3"),
        ({"settings": Settings(steps=2, batch_size=2, betas=(0.5, 0.9))}, "settings.betas is "),
        ({"seed": 1}, "seed is 0, not 1"),
        ({"initialise": False}, "initialise is True, not False; weights is "),
        ({"unit": "nats"}, "unit is bits, not nats"),
    ],
)
def test_other_data_settings_or_seeds_are_refused_and_the_same_ones_are_found(tmp_path, change, named):
    arguments = {"labels": LABELS, "validation": IMAGES, "validation_labels": LABELS, "transform": binarise}
    finished = train(tmp_path, Constant(), **arguments)
    kept = (tmp_path / "resume.pt").read_bytes()
    with pytest.raises(checkpoints.CheckpointError, match=rf"belongs to another training \({named}") as error:
        train(tmp_path, Constant(), **arguments | change)
    assert str(error.value).count("; ") == named.count("; ") and (tmp_path / "resume.pt").read_bytes() == kept
    again = train(tmp_path, Constant(), **arguments | {"images": IMAGES.clone(), "labels": LABELS.clone()})
    assert again.history == finished.history


def test_a_model_that_goes_on_from_other_weights_is_another_training(tmp_path):
    torch.manual_seed(0)
    train(tmp_path, gated(), initialise=False)
    other = gated()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    with pytest.raises(checkpoints.CheckpointError, match=r"another training \(weights is "):
        train(tmp_path, other, initialise=False)


def test_an_identity_that_is_given_stands_for_model_and_data(tmp_path):
    """Settings and seed always belong to it; a model that does not fit is still noticed."""
    identity = {"model": {"name": "constant", "size": (8, 8)}, "data": "one"}
    train(tmp_path, Constant(), identity=identity)
    kept = checkpoints.load_resume(tmp_path / "resume.pt")
    assert kept["identity_hash"] == checkpoints.identity_hash(kept["identity"])
    train(tmp_path, Constant(), images=one_pixel_changed(IMAGES), identity={**identity})
    for change, named in (
        ({"identity": {**identity, "data": "two"}}, "data is one, not two"),
        ({"identity": {**identity, "model": {"name": "other"}}}, "model.name is constant, not other; model.size is"),
        ({"identity": None}, "model.* is "),
        ({"identity": identity, "seed": 3}, "seed is 0, not 3"),
        ({"identity": identity, "settings": Settings(steps=5, batch_size=2)}, "settings.steps is 2, not 5"),
    ):
        with pytest.raises(checkpoints.CheckpointError, match=rf"belongs to another training \({named}"):
            train(tmp_path, Constant(), **change)
    with pytest.raises(checkpoints.CheckpointError, match="does not fit the model: missing"):
        train(tmp_path, vae(), identity=identity)
    with pytest.raises(TypeError, match="JSON"):
        train(tmp_path / "new", Constant(), identity={"model": object()})
    assert not (tmp_path / "new" / "resume.pt").exists()


@pytest.mark.parametrize("key", ["step", "model", "optimisers", "average", "history", "since_validation", "seconds"])
@pytest.mark.parametrize("value", ["absent", None, "text"])
def test_a_resume_state_of_another_form_is_refused_by_name(tmp_path, key, value):
    """Say, one that an older or a newer version wrote."""
    train(tmp_path, Constant())
    state = checkpoints.load_resume(tmp_path / "resume.pt")
    state = {name: v for name, v in state.items() if name != key} if value == "absent" else {**state, key: value}
    checkpoints.save_resume(tmp_path / "resume.pt", state)
    with pytest.raises(checkpoints.CheckpointError, match=r"cannot resume from .*resume\.pt: its contents do not fit"):
        train(tmp_path, Constant())


def test_a_description_holds_what_makes_a_model_and_nothing_that_changes():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.sizes, self.names, self.act, self.table = (1, (2, 3)), {"a": None}, torch.relu, torch.arange(3)
            self._secret, self.hook = 1, lambda x: x
            self.weight, self.part = nn.Parameter(torch.zeros(2)), nn.Linear(2, 3)
            self.register_buffer("buffer", torch.zeros(1))

    description = describe_model(Part())
    assert description["sizes"] == [1, [2, 3]] and description["names"] == {"a": None}
    assert description["act"].endswith("relu") and description["table"] == tensor_sha256(torch.arange(3))
    assert description["part.class"] == "Linear" and description["part.in_features"] == 2
    assert not {"_secret", "hook", "weight", "buffer", "training", "part"} & description.keys()
    assert description == describe_model(Part().eval().double())
    assert describe_model(IWAE()) == describe_model(IWAE()) != describe_model(IWAE(num_samples=9))


def test_a_transform_is_described_without_its_address():
    class Plain:
        def __init__(self, factor=1):
            self.factor = factor

        def __call__(self, x, generator):
            return self.factor * x

    assert describe_object(Plain(1)) != describe_object(Plain(2))  # or one would be taken for the other's training
    assert describe_object(Plain()) == describe_object(Plain()) and " at 0x" not in describe_object(Plain())
    assert describe_object(functools.partial(binarise, generator=None)) == "partial(binarise, generator=None)"
    inverses = [describe_object(IntensityPermutation(seed=seed).inverse) for seed in (0, 0, 1)]
    assert inverses[0] == inverses[1] != inverses[2]


def test_a_digest_of_data_is_that_of_its_values():
    x = torch.arange(24, dtype=torch.uint8).view(4, 1, 2, 3)
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)  # the same values, elsewhere in memory
    assert not turned.is_contiguous() and tensor_sha256(turned) == tensor_sha256(x)
    others = [x.flatten(), x.int(), x.flip(0), x[:3]]
    assert len({tensor_sha256(t) for t in [x, *others]}) == 5
    assert tensor_sha256(None) is None
    assert describe_training(Constant(), x, None, None, None, None)["labels"] is None


TRAINER = """
import sys, time
from pathlib import Path
import torch
from torch import nn
from pixellib.training import Settings, fit
from toys import Toy
class Slow(Toy):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
    def loss(self, x, condition=None):
        Path(sys.argv[1], "started").touch()
        while not Path(sys.argv[1], "go on").exists():
            time.sleep(0.01)
        return self.weight * 1
images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
try:
    fit(Slow(), images, Settings(steps=3, batch_size=2), folder=sys.argv[1], device="cpu", progress=False)
except RuntimeError as error:
    print(error)
    sys.exit(3)
"""


def test_of_two_processes_in_one_folder_the_second_gets_one_plain_line(tmp_path):
    """And the first goes on; when it has ended, or was killed, the folder is free."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    command = [sys.executable, "-c", TRAINER, str(tmp_path)]
    first = subprocess.Popen(command, env=environment)
    try:
        while not (tmp_path / "started").exists():
            assert first.poll() is None
            time.sleep(0.02)
        second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
        assert second.returncode == 3 and not second.stderr
        assert (
            second.stdout == f"{tmp_path} is in use by another training: wait for its end, or choose another folder\n"
        )
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    (tmp_path / "go on").touch()
    assert subprocess.run(command, env=environment, timeout=100).returncode == 0
    assert checkpoints.load_resume(tmp_path / "resume.pt")["step"] == 3
