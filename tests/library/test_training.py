"""fit: what each setting does, to the digit; what stops it, and what is left then."""

import itertools
import math
import resource
import signal
import sys

import pytest
import torch
from torch import nn
from toys import Toy

from pixellib import checkpoints
from pixellib.data import binarise, grey
from pixellib.likelihoods import Bernoulli, LogisticMixture
from pixellib.models import IWAE, PixelCNNpp
from pixellib.training import NonFiniteLoss, OutOfTime, Settings, fit


class Marginals(Toy):
    """An independent coin for each pixel, in float64: nothing is drawn, and the best weights are known."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(1, 28, 28, dtype=torch.float64))

    def log_prob(self, x, condition=None):
        return Bernoulli()(self.logits).log_prob(x)


class Slope(Toy):
    """loss = slope * weight, so that every gradient is known; `before(step)` is called first."""

    kind = "exact"

    def __init__(self, slope=1.0, before=lambda step: None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.slope, self.before, self.step = slope, before, 0

    def loss(self, x, condition=None):
        self.step += 1
        self.before(self.step)
        return self.slope * self.weight


BLANK = torch.zeros(8, 1, 2, 2, dtype=torch.uint8)
# Adam with nothing to remember and an overwhelming eps is plain gradient descent of rate 1.
PLAIN = {"betas": (0.0, 0.0), "eps": 1e15, "learning_rate": 1e15, "ema_decay": None}


def quiet(*args, **kwargs):
    return fit(*args, progress=False, device="cpu", **kwargs)


def small_iwae(num_samples=2):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return IWAE(num_latents=(8,), num_hidden=(32,), num_samples=num_samples)


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def without_clock(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def test_the_loss_falls_on_real_digits(digits):
    training = quiet(
        small_iwae(),
        digits[:1500],
        Settings(steps=150, batch_size=50, learning_rate=5e-3, ema_decay=0.9, validate_every=30),
        validation=binarise(digits[1500:], torch.Generator().manual_seed(0)),
        transform=binarise,
        unit="nats",
    )
    assert [row["step"] for row in training.history] == [30, 60, 90, 120, 150]
    for key in ("train_nats", "validation_nats"):
        losses = [row[key] for row in training.history]
        assert losses == sorted(losses, reverse=True), key
        assert losses[-1] < 165 < 185 < losses[0], losses
    assert not training.model.training and training.images_seen == 150 * 50 and training.steps == 150


def test_the_best_weights_are_found(digits):
    """For independent coins these are known: the frequency of each pixel in the data."""
    x = binarise(digits[:200], torch.Generator().manual_seed(0))
    settings = Settings(steps=300, batch_size=200, learning_rate=0.1, schedule="cosine", ema_decay=None)
    model = quiet(Marginals(), x, settings).model
    torch.testing.assert_close(model.logits.sigmoid(), (x == 255).double().mean(0), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"schedule": "cosine"}, [1, 0.5 + 0.5 * math.cos(math.pi / 5), 0.5 + 0.5 * math.cos(2 * math.pi / 5),
                                  0.5 + 0.5 * math.cos(3 * math.pi / 5), 0.5 + 0.5 * math.cos(4 * math.pi / 5)]),
        ({"schedule": "exponential", "decay": 0.5}, [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16]),
        ({"schedule": "wsd", "decay": 0.6}, [1, 1, 1, 2 / 3, 1 / 3]),
        ({"warmup_steps": 3}, [1 / 4, 2 / 4, 3 / 4, 1, 1]),
        ({"warmup_steps": 1, "schedule": "exponential", "decay": 0.1}, [0.5, 0.1, 0.01, 0.001, 0.0001]),
    ],
)  # fmt: skip
def test_every_step_has_the_learning_rate_of_the_schedule(settings, rates):
    """Under a constant gradient Adam moves by exactly its learning rate, so the path of the weight shows it."""
    settings = Settings(steps=5, batch_size=4, learning_rate=0.1, ema_decay=None, eps=0.0, **settings)
    path, model = [], Slope()
    model.before = lambda step: path.append(model.weight.item())
    path.append(quiet(model, BLANK, settings).model.weight.item())
    moves = [before - after for before, after in itertools.pairwise(path)]
    assert moves == pytest.approx([0.1 * rate for rate in rates], abs=1e-12)
    assert [0.1 * settings.lr_factor(step) for step in range(5)] == pytest.approx(moves)


def test_averaging_is_an_exponential_moving_average_that_soon_forgets_the_first_steps():
    """Gradient descent of rate 1 on a slope of 1: the weight is -1, -2, ...; the model trained is left as it ended."""
    model = Slope()
    averaged = quiet(model, BLANK, Settings(steps=4, batch_size=4, **PLAIN | {"ema_decay": 0.2})).model
    expected = -1.0
    for weight, decay in ((-2.0, 2 / 11), (-3.0, 0.2), (-4.0, 0.2)):  # 3 / 12 and 4 / 13 are more than 0.2
        expected = decay * expected + (1 - decay) * weight
    assert averaged.weight.item() == pytest.approx(expected)
    assert model.weight.item() == pytest.approx(-4)


@pytest.mark.parametrize(("slope", "moved"), [(0.5, -1.5), (10.0, -6.0), (-10.0, 6.0)])
def test_a_gradient_longer_than_clip_is_shortened_to_it(slope, moved):
    model = quiet(Slope(slope), BLANK, Settings(steps=3, batch_size=4, max_grad_norm=2.0, **PLAIN)).model
    assert model.weight.item() == pytest.approx(moved, rel=1e-6)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_batch_in_parts_is_the_same_batch(digits, clip):
    """Mean of means over equal parts: gradients, clipping and so weights are those of the whole, up to rounding."""
    x = binarise(digits[:64], torch.Generator().manual_seed(0))
    weights = [
        quiet(
            Marginals(), x, Settings(steps=5, batch_size=16, accumulate=parts, max_grad_norm=clip, **PLAIN)
        ).model.logits
        for parts in (1, 2, 4)
    ]
    assert weights[0].abs().max() > 0.1
    torch.testing.assert_close(weights[1:], [weights[0]] * 2, atol=1e-12, rtol=1e-9)


def test_each_epoch_sees_every_image_once_in_a_new_order_with_its_label():
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    seen = []

    class Witness(Slope):
        def loss(self, x, condition=None):
            assert torch.equal(x.flatten().long(), condition - 100)
            seen.extend(x.flatten().tolist())
            return super().loss(x)

    quiet(Witness(), images, Settings(steps=15, batch_size=2), labels=torch.arange(10) + 100)
    epochs = [seen[:10], seen[10:20], seen[20:]]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_every_step_has_noise_of_its_own_that_a_resumed_training_draws_again(tmp_path):
    """What models and transforms draw from the global generator is a function of seed and step alone."""

    def train(folder, drawn, seed=0, stop_at=None):
        def draw(x, generator):
            drawn.append(torch.rand(()).item())
            if len(drawn) == stop_at:
                raise KeyboardInterrupt
            return x

        options = {"initialise": False, "seed": seed, "folder": folder, "save_every": 0}
        quiet(Slope(), BLANK, Settings(steps=8, batch_size=4), transform=draw, **options)

    alone, other, resumed = [], [], []
    train(tmp_path / "alone", alone)
    train(tmp_path / "other", other, seed=1)
    assert len({*alone, *other}) == 16
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, resumed, stop_at=5)
    train(tmp_path, resumed)
    assert resumed == [*alone[:5], *alone[4:]]


def test_initialisation_sees_the_images_once_and_not_again_on_resume(tmp_path):
    calls = []

    class Initialised(Slope):
        def initialise(self, images):
            calls.append(images)
            self.weight.data.fill_(7.0)

    settings = Settings(steps=2, batch_size=4, **PLAIN)
    for _ in range(2):
        assert quiet(Initialised(), BLANK, settings, folder=tmp_path).model.weight.item() == pytest.approx(5.0)
    assert len(calls) == 1 and calls[0] is BLANK


def test_a_training_repeats_to_the_byte_and_leaves_the_global_generator_alone(digits):
    def train(seed):
        return quiet(small_iwae(), digits, Settings(steps=4, batch_size=20), transform=binarise, seed=seed)

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train(seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert same(first.model, train(seed=3).model)
    assert not same(first.model, train(seed=4).model)


def test_a_training_interrupted_anywhere_ends_like_one_left_alone(digits, tmp_path):
    """Weights to the byte and history to the digit, however often the state was saved and wherever it stopped."""
    validation = binarise(digits[:100], torch.Generator().manual_seed(0))

    def train(folder, stop_at=None):
        model = small_iwae()
        loss, calls = model.loss, iter(range(1, 1000))

        def interrupted(x, condition=None):
            if next(calls) == stop_at:
                raise KeyboardInterrupt
            return loss(x, condition)

        model.loss = interrupted
        settings = Settings(steps=70, batch_size=20, ema_decay=0.9, max_grad_norm=10.0, accumulate=2, validate_every=30)
        return quiet(
            model, digits, settings, validation=validation, transform=binarise, folder=folder, save_every=0, unit="nats"
        )

    alone = train(None)
    for stop_at in (1, 40, 57, 20):  # parts; each time from where the last one got to, in two parts per step
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, stop_at)
    assert checkpoints.load_resume(tmp_path / "resume.pt")["step"] == 0 + 19 + 28 + 9
    resumed = train(tmp_path)
    assert same(resumed.model, alone.model)
    assert without_clock(resumed.history) == without_clock(alone.history)
    again = train(tmp_path, stop_at=1)  # finished: returned as it is
    assert same(again.model, alone.model) and again.history == resumed.history


@pytest.mark.parametrize("bad", [1, 7, 50, 51, 119])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_not_finite_names_its_step(bad, value):
    """Losses are looked at in windows of 50 so that a GPU need not wait; the step named is still the first bad one."""

    class Spoilt(Slope):
        def loss(self, x, condition=None):
            return super().loss(x) + (float(value) if self.step >= bad else 0)

    with pytest.raises(NonFiniteLoss, match=rf"the loss is {value} at step {bad}$"):
        quiet(Spoilt(), BLANK, Settings(steps=150, batch_size=4))


@pytest.mark.parametrize("bad", [2, 30])
def test_after_a_bad_loss_the_last_good_state_is_there_and_goes_on(tmp_path, bad):
    model = Slope(before=lambda step: setattr(model, "slope", torch.nan if step == bad else 1.0))
    settings = Settings(steps=40, batch_size=4, **PLAIN)
    with pytest.raises(NonFiniteLoss, match=rf"nan at step {bad}; the last good state is kept in .*resume\.pt"):
        quiet(model, BLANK, settings, folder=tmp_path, save_every=0)
    kept = checkpoints.load_resume(tmp_path / "resume.pt")
    assert kept["step"] == bad - 1 and kept["model"]["weight"].item() == pytest.approx(1 - bad)
    assert quiet(Slope(), BLANK, settings, folder=tmp_path).model.weight.item() == pytest.approx(-40)


def test_logits_that_become_nan_stop_the_training_at_their_step(tmp_path):
    """A likelihood refuses NaN logits itself, and knows nothing of steps: fit adds the step."""

    class Breaking(Marginals):
        calls = 0

        def loss(self, x, condition=None):
            self.calls += 1
            return -Bernoulli()(self.logits + (torch.nan if self.calls == 5 else 0)).log_prob(x).mean()

    x = torch.zeros(8, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(NonFiniteLoss, match=r"Bernoulli: the .* are not finite at step 5; the last good state"):
        quiet(Breaking(), x, Settings(steps=9, batch_size=4), folder=tmp_path, save_every=0)
    assert checkpoints.load_resume(tmp_path / "resume.pt")["step"] == 4


def test_an_earlier_bad_loss_is_named_before_the_logits_it_spoilt():
    """An infinite loss at step 3 leaves NaN weights, which the likelihood of step 4 refuses: step 3 is the culprit."""

    class Breaking(Marginals):
        calls = 0

        def loss(self, x, condition=None):
            self.calls += 1
            return super().loss(x) * (torch.inf if self.calls == 3 else 1)

    x = torch.zeros(8, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(NonFiniteLoss, match=r"the loss is inf at step 3$"):
        quiet(Breaking(), x, Settings(steps=9, batch_size=4))


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    """A finite loss may have a gradient that is not: the square root at zero."""
    model = Slope()
    model.loss = lambda x, condition=None: (
        Slope.loss(model, x) + (model.weight * (0 if model.step == 6 else 1)).abs().sqrt()
    )
    with pytest.raises(NonFiniteLoss, match="the weights are not finite after step 6; the last good state"):
        model.weight.data.fill_(100.0)
        quiet(model, BLANK, Settings(steps=9, batch_size=4), folder=tmp_path, save_every=0)
    assert checkpoints.load_resume(tmp_path / "resume.pt")["step"] == 5


def test_a_training_stops_when_its_time_is_over_and_goes_on_from_there(tmp_path):
    """Even if the time is over at once it does a step, so that calls in a loop come to an end."""
    settings = Settings(steps=3, batch_size=4)
    for done in (1, 2):
        with pytest.raises(OutOfTime, match=f"stopped after {done} of 3 steps"):
            quiet(Slope(), BLANK, settings, folder=tmp_path, until=0)
        assert checkpoints.load_resume(tmp_path / "resume.pt")["step"] == done
    pieces = quiet(Slope(), BLANK, settings, folder=tmp_path, until=0)  # the last step needs no more time
    assert same(pieces.model, quiet(Slope(), BLANK, settings).model) and pieces.steps == 3


def test_a_time_to_stop_needs_a_folder():
    with pytest.raises(ValueError, match="until needs a folder"):
        quiet(Slope(), BLANK, Settings(steps=3, batch_size=4), until=0)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"batch_size": 6, "accumulate": 4}, "batch_size 6 does not divide into 1 processes x 4 parts"),
        ({"batch_size": 9}, "batch_size 9 is larger than the 8 training images"),
        ({"schedule": "linear"}, "unknown schedule 'linear'; choose one of constant, cosine, exp"),
        ({"precision": "fp8"}, "unknown precision 'fp8'; choose one of auto, bf16, fp32"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"steps": 2.5}, "steps must be an integer of at least 1, got 2.5"),
        ({"accumulate": 0}, "accumulate must be an integer of at least 1, got 0"),
        ({"warmup_steps": -1}, "warmup_steps must be an integer of at least 0, got -1"),
        ({"validate_every": -1}, "validate_every must be an integer of at least 0, got -1"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be a positive number, got nan"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a positive number, got '1e-3'"),
        ({"muon_lr": -1}, "muon_lr must be a positive number or None, got -1"),
        ({"max_grad_norm": -1}, "max_grad_norm must be a positive number or None, got -1"),
        ({"max_grad_norm": math.inf}, "max_grad_norm must be a positive number or None, got inf"),
        ({"decay": 1.5}, "decay must be above 0 and at most 1, got 1.5"),
        ({"decay": 0.0}, "decay must be above 0 and at most 1, got 0.0"),
        ({"ema_decay": 1.0}, "ema_decay must be None, or at least 0 and below 1, got 1.0"),
        ({"ema_decay": -0.5}, "ema_decay must be None, or at least 0 and below 1, got -0.5"),
        ({"betas": (0.9, 1.0)}, "betas must be at least 0 and below 1, got 1.0"),
        ({"betas": (0.9,)}, r"betas must be a pair of numbers, got \(0.9,\)"),
        ({"eps": -1e-8}, "eps must be a number of at least 0, got -1e-08"),
        ({"decay": 0.5, "schedule": "cosine"}, "decay is for the schedules exponential and wsd, not for cosine"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, complaint):
    """Some of these would train too: a negative norm turns descent into ascent."""
    with pytest.raises(ValueError, match=complaint):
        quiet(Slope(), BLANK, Settings(**{"steps": 2, "batch_size": 4, **settings}))


def test_a_training_may_be_longer_than_any_counter(tmp_path):
    """Nothing is made for each step in advance; it is stopped, and goes on."""
    settings = Settings(steps=10**30, batch_size=4, schedule="cosine", ema_decay=None)

    def stop(step):
        if step == 4:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            quiet(Slope(before=stop), BLANK, settings, folder=tmp_path, save_every=0)
    assert checkpoints.load_resume(tmp_path / "resume.pt")["step"] == 6


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"labels": torch.zeros(7).long()}, "one label per image: got 8 images, 7 labels"),
        ({"labels": torch.tensor(3)}, "one label per image: got 8 images, a single number labels"),
        (
            {"validation": BLANK / 255},
            r"validation images must be uint8, .* \(N, C, H, W\), got torch.float32",
        ),
        ({"validation": BLANK, "validation_labels": torch.zeros(9).long()}, "got 8 validation images, 9 labels"),
        ({"images": BLANK.float()}, r"images must be uint8, .* \(N, C, H, W\), got torch.float32"),
        (
            {"images": BLANK[0]},
            r"images must be uint8, .* \(N, C, H, W\), got torch.uint8 of shape \(1, 2, 2\)",
        ),
        ({"validation": BLANK[:0]}, "there are no validation images"),
        ({"validation_labels": torch.zeros(8).long()}, "validation_labels need validation images"),
        ({"labels": torch.zeros(8).long(), "validation": BLANK}, "labels and validation_labels belong together"),
        ({"validation": BLANK, "validation_labels": torch.zeros(8).long()}, "labels and validation_labels belong"),
        ({"unit": "bit"}, "unknown unit 'bit'; choose one of bits, nats"),
        ({"seed": 2**70}, r"seed must be an integer from 0 to 2\^32 - 1, got"),
        ({"seed": -1}, r"seed must be an integer from 0 to 2\^32 - 1, got -1"),
        ({"seed": 10**20_000}, r"seed must be an integer from 0 to 2\^32 - 1, got a longer one"),
        ({"device": "meta"}, "device 'meta' is not available here"),
        ({"folder": "\udcff"}, r"the path '\\udcff' is not valid UTF-8"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_trained(arguments, complaint):
    model = Slope()
    arguments = {"images": BLANK, "device": "cpu", **arguments}
    with pytest.raises(ValueError, match=complaint) as error:
        fit(model, settings=Settings(steps=2, batch_size=4), progress=False, **arguments)
    assert model.step == 0 and "\n" not in str(error.value)


def test_a_full_disk_ends_a_training_in_one_line_that_names_the_path(tmp_path, capfd):
    """Not in the complaints of what else was writing there."""

    class Large(Slope):
        def __init__(self):
            super().__init__()
            self.more = nn.Parameter(torch.zeros(10_000))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError) as error:
            quiet(Large(), BLANK, Settings(steps=9, batch_size=4), folder=tmp_path, save_every=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert str(error.value) == f"[Errno 27] File too large: '{tmp_path / 'resume.pt'}'"
    assert not {p.name for p in tmp_path.iterdir()} - {".lock", "tensorboard"}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("missing", ["tensorboard", "torch.utils.tensorboard"])
def test_without_tensorboard_a_training_writes_no_scalars_and_goes_on(tmp_path, monkeypatch, missing):
    """The library alone does not bring it."""
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    assert quiet(Slope(), BLANK, Settings(steps=2, batch_size=4), folder=tmp_path).steps == 2
    assert not (tmp_path / "tensorboard").exists() and (tmp_path / "resume.pt").exists()


def test_scalars_and_bar_show_the_loss_in_the_unit_asked(tmp_path, capsys):
    """Mean loss 7 over 4 sub-pixels is 7 / (4 log 2) bits per dimension."""

    class Constant(Slope):
        def loss(self, x, condition=None):
            return super().loss(x) * 0 + 7

        def log_prob(self, x, condition=None):
            return torch.full((len(x),), -5.0)

    pytest.importorskip("tensorboard", reason="scalars are written where the package is installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = Settings(steps=120, batch_size=4, validate_every=60)
    for unit, in_unit in (("bits", 1 / (4 * math.log(2))), ("nats", 1)):
        training = fit(Constant(), BLANK, settings, validation=BLANK, unit=unit, device="cpu", folder=tmp_path / unit)
        assert without_clock(training.history) == [
            {"step": step, f"train_{unit}": round(7 * in_unit, 5), f"validation_{unit}": round(5 * in_unit, 5)}
            for step in (60, 120)
        ]
        events = EventAccumulator(str(tmp_path / unit / "tensorboard"))
        events.Reload()
        for tag, value, steps in (
            (f"loss/train ({unit})", 7, [50, 60, 110, 120]),
            (f"loss/validation ({unit})", 5, [60, 120]),
        ):
            scalars = events.Scalars(tag)
            assert [event.step for event in scalars] == steps
            assert [event.value for event in scalars] == pytest.approx([value * in_unit] * len(steps), rel=1e-5)
        fit(Constant(), BLANK, settings, validation=BLANK, unit=unit, device="cpu", folder=tmp_path / unit)
        assert len(events.Reload().Scalars(f"loss/train ({unit})")) == 4, "a training that is done writes nothing"
        assert "120/120" in (shown := capsys.readouterr().err) and f"{7 * in_unit:.4f} {unit}" in shown


def test_a_transform_may_change_the_number_of_channels():
    """Initialisation, bits and validation are of what the model sees."""
    x = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8)
    settings = Settings(steps=2, batch_size=10, validate_every=1)

    def trained(images, **options):
        torch.manual_seed(0)
        model = PixelCNNpp(1, 8, 1, LogisticMixture(2), size=(8, 8))
        return quiet(model, images, settings, validation=images[:10], **options).history

    shown = [{k: v for k, v in row.items() if k != "seconds"} for row in trained(x, transform=grey)]
    assert shown == [{k: v for k, v in row.items() if k != "seconds"} for row in trained(grey(x))]
