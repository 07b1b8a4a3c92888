"""fit: the one training loop, for every model of the series, on one device or many, which can be resumed."""

import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from pixellib import checkpoints, devices, files, seeds
from pixellib.checkpoints import CheckpointError
from pixellib.data.batches import minibatches
from pixellib.evaluation import Estimate, bits_per_dim, check_data, evaluate
from pixellib.models.base import ImageModel
from pixellib.training.description import describe_training
from pixellib.training.settings import Settings
from pixellib.training.signals import remembered
from pixellib.training.step import TrainState

UNITS = ("bits", "nats")
WINDOW = 50  # steps between looks at the losses
MOST_LOOKED_AT = 1_000  # transformed images for a model that is initialised from data


class OutOfTime(RuntimeError):
    """The time that a training was given is over; its state is saved."""


@dataclass
class Training:
    """What `fit` returns. model: with averaged weights, in eval mode. seconds: of wall-clock time, validation included,
    over all restarts. history: a dict per validation, with the mean training loss since the one before.
    """

    model: ImageModel
    steps: int
    images_seen: int
    seconds: float
    history: list[dict] = field(default_factory=list)


def fit(
    model: ImageModel,
    images: Tensor,
    settings: Settings,
    *,
    labels: Tensor | None = None,
    validation: Tensor | None = None,
    validation_labels: Tensor | None = None,
    transform: Callable[[Tensor, torch.Generator | None], Tensor] | None = None,
    initialise: bool = True,
    unit: str = "bits",
    seed: int = 0,
    device: str = "auto",
    folder: Path | str | None = None,
    save_every: float = 60.0,
    progress: bool = True,
    identity: Mapping[str, Any] | None = None,
    compile: bool = False,
    until: float | None = None,
) -> Training:
    """Minimise `model.loss` over images, uint8 (N, C, H, W), and return the model with averaged weights.

    labels: int64 (N,), given to the loss as its condition. transform: applied to each batch as it is drawn, such as
    binarise. initialise: whether `model.initialise` sees images, transformed, before the first step; not for a model
    that was trained before. unit: of the loss, "nats" per image or "bits" per dimension. seed: 0 to 2^32 - 1.

    folder: where resume state goes every `save_every` seconds, and TensorBoard scalars if the package tensorboard is
    installed. A training found there goes on. On a CPU, with as many threads and processes, it ends in the same bytes
    as one never interrupted, because all noise of a step is seeded by (seed, step, process); on a GPU it does so within
    its rounding. The folder is locked meanwhile. identity: what this training is, a mapping that JSON can hold; by
    default a description of model, data and transform. (Functions and classes are described by their names: after
    editing one, choose another folder.) Settings and seed always belong to it. A state of another identity is refused.

    compile: let `torch.compile` make one program of the loss and its gradient. It takes a minute or two and a C++
    compiler, gives the same results within rounding, and is no part of the identity. until: a time, on the clock of
    `time.time()`; after the first step that ends later, the state is saved and OutOfTime raised. SIGINT (Ctrl-C) and
    SIGTERM likewise save the state after the current step, and then act as usual. Both need a folder and one process.

    With an initialised process group (see `devices.process_group`) each process takes its share of every batch.

    Raises NonFiniteLoss naming the step; CheckpointError if the folder holds another training, or a broken one;
    RuntimeError if another process trains in the folder, or nothing here can compile; OutOfTime, see above; ValueError
    for images, labels or words that do not fit, and for `until` without a folder or with several processes.

    >>> from pixellib.models import IWAE
    >>> images = torch.zeros(20, 1, 28, 28, dtype=torch.uint8)
    >>> model = IWAE(num_latents=(2,), num_hidden=(4,))
    >>> fit(model, images, Settings(steps=3, batch_size=10), progress=False, device="cpu").images_seen
    30
    """
    _check_arguments(images, labels, validation, validation_labels, settings, unit, until, folder)
    seed, device = seeds.check_seed(seed), devices.resolve(devices.of_this_process(device))
    with ExitStack() as stack:
        kept = path = None
        if folder is not None:
            path = files.check_path(folder) / "resume.pt"
            stack.enter_context(_locked(path.parent))
            if identity is None:
                identity = describe_training(model, images, labels, validation, validation_labels, transform)
                identity |= _start(model, initialise) | {"unit": unit}
            identity = {**identity, "settings": asdict(settings), "seed": seed}
            kept = _find_state(path, identity, progress)
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        seeds.seed_global(seed, device)
        draw = _Draw(images, labels, transform, device)
        if initialise and not kept:
            model.initialise(images if transform is None else transform(images[:MOST_LOOKED_AT], None))
        state = TrainState(model.to(device).train(), settings, seed, device, path, identity, compile)
        if kept:
            state.restore(kept)
        validate = partial(
            evaluate, images=validation, labels=validation_labels, transform=transform, seed=seed,
            batch_size=min(200, settings.batch_size), device=device, precision=settings.precision,
        )  # fmt: skip
        log = stack.enter_context(_Log(state, unit, draw, progress))
        signals = stack.enter_context(remembered(path is not None and devices.world_and_rank()[0] == 1))
        _run(state, draw, None if validation is None else validate, log, save_every, until, signals)
    return Training(
        state.averaged_model.eval(), settings.steps, settings.steps * settings.batch_size, state.seconds, state.history
    )


def _run(
    state: TrainState,
    draw: "_Draw",
    validate: Callable[[ImageModel], Estimate] | None,
    log: "_Log",
    save_every: float,
    until: float | None,
    signals: list[int],
) -> None:
    """Take the steps that are left; report, validate and save where it is time to."""
    settings, saved_at = state.settings, time.monotonic()
    batches = minibatches(len(draw.images), settings.batch_size, state.seed, state.num_steps)
    for done, rows in zip(range(state.num_steps + 1, settings.steps + 1), batches, strict=False):
        state.step(rows, draw)
        is_last = done == settings.steps
        validates = is_last or (settings.validate_every and done % settings.validate_every == 0)
        stops = not is_last and bool(signals or (until is not None and time.time() > until))
        saves = state.path and state.rank == 0 and (is_last or stops or time.monotonic() - saved_at > save_every)
        if validates or saves or len(state.losses) == WINDOW:
            log.add_losses(state.take_losses())
        if validates:
            log.add_validation(validate(state.averaged_model) if validate else None)
        if saves:
            state.save()
            saved_at = time.monotonic()
        if stops:
            stopped = f"stopped after {done:,} of {settings.steps:,} steps, which are kept in {state.path}"
            if not signals:
                raise OutOfTime(stopped)
            print(stopped, file=sys.stderr, flush=True)
            break
    if signals:
        signal.raise_signal(signals[0])


class _Log:
    """The history of a training, its bar, and its scalars for TensorBoard; the last two in the first process only."""

    def __init__(self, state: TrainState, unit: str, draw: "_Draw", progress: bool):
        self.state, self.unit, self.draw = state, unit, draw
        self.bar = tqdm(
            total=state.settings.steps, initial=state.num_steps, desc="train", unit="step",
            disable=not progress or state.rank > 0, mininterval=0.5 if sys.stderr.isatty() else 20.0,
        )  # fmt: skip
        writes = state.path and state.rank == 0 and state.num_steps < state.settings.steps
        self.writer = _tensorboard(state.path.parent, state.num_steps) if writes else None

    def add_losses(self, losses: Tensor) -> None:
        mean = self._in_unit(losses.mean().item())
        self.bar.update(len(losses))
        self.bar.set_postfix_str(f"{mean:.4f} {self.unit}", refresh=False)
        self._write("train", mean)

    def add_validation(self, held_out: Estimate | None) -> None:
        mean = self._in_unit(self.state.take_mean_loss())
        row = {"step": self.state.num_steps, f"train_{self.unit}": round(mean, 5)}
        if held_out is not None:
            row[f"validation_{self.unit}"] = round(self._in_unit(-held_out.log_likelihood), 5)
            self._write("validation", row[f"validation_{self.unit}"])
        row["seconds"] = round(self.state.seconds, 1)
        self.state.history.append(row)

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.bar.close()
        if self.writer and not (kind and issubclass(kind, OSError)):  # on a full disk it would fail too, and hide why
            self.writer.close()

    def _write(self, name: str, value: float) -> None:
        if self.writer:
            self.writer.add_scalar(f"loss/{name} ({self.unit})", value, self.state.num_steps)

    def _in_unit(self, nats: float) -> float:
        return bits_per_dim(nats, self.draw.shape) if self.unit == "bits" else nats


@dataclass
class _Draw:
    """Images and labels of some rows, on the device, transformed. shape: (C, H, W) of those that were drawn last."""

    images: Tensor
    labels: Tensor | None
    transform: Callable[[Tensor, torch.Generator | None], Tensor] | None
    device: torch.device
    shape: tuple[int, int, int] | None = None

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        x = self.images[rows].to(self.device)
        x = x if self.transform is None else self.transform(x, None)
        self.shape = tuple(x.shape[1:])
        return x, None if self.labels is None else self.labels[rows].to(self.device)


def _check_arguments(
    images: Tensor,
    labels: Tensor | None,
    validation: Tensor | None,
    validation_labels: Tensor | None,
    settings: Settings,
    unit: str,
    until: float | None,
    folder: Path | str | None,
) -> None:
    check_data(images, labels)
    if validation is not None:
        check_data(validation, validation_labels, "validation ")
        if len(validation) == 0:
            raise ValueError("there are no validation images")
        if (labels is None) != (validation_labels is None):
            raise ValueError("labels and validation_labels belong together: give both, or neither")
    elif validation_labels is not None:
        raise ValueError("validation_labels need validation images")
    if unit not in UNITS:
        raise ValueError(f"unknown unit {unit!r}; choose one of {', '.join(UNITS)}")
    world, size = devices.world_and_rank()[0], settings.batch_size
    if size % (world * settings.accumulate):
        raise ValueError(f"batch_size {size} does not divide into {world} processes x {settings.accumulate} parts")
    if len(images) < size:
        raise ValueError(f"batch_size {size} is larger than the {len(images)} training images")
    if until is not None and (folder is None or world > 1):
        raise ValueError("until needs a folder for the state, and a training in one process")


def _start(model: ImageModel, initialise: bool) -> dict[str, Any]:
    """Where a training starts: from weights that a seed decides, or from given ones."""
    given = {} if initialise else {"weights": checkpoints.weights_sha256(model.state_dict())}
    return {"initialise": initialise} | given


def _locked(folder: Path) -> AbstractContextManager:
    """Holds the folder against another training; the first process does so for all."""
    if devices.world_and_rank()[1] > 0:
        return nullcontext()
    return files.locked(
        folder / ".lock", f"{folder} is in use by another training: wait for its end, or choose another folder"
    )


def _find_state(path: Path, identity: Mapping[str, Any], progress: bool) -> dict[str, Any] | None:
    """The resume state at `path`, if there is one; says so. CheckpointError if it is another training's."""
    kept = checkpoints.load_resume(path)
    if kept and (other := checkpoints.identity_differences(kept["identity"], identity)):
        more = f"; and {len(other) - 10} more" if len(other) > 10 else ""
        raise CheckpointError(
            f"{path} belongs to another training ({'; '.join(other[:10])}{more}): delete it to start afresh"
        )
    if kept and progress and devices.world_and_rank()[1] == 0:
        print(f"going on after step {kept['step']:,}, which is kept in {path}", file=sys.stderr, flush=True)
    return kept


def _tensorboard(folder: Path, start: int):
    """A writer of scalars, which replaces those of steps after `start`; None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # takes a second: only where it is used
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)
