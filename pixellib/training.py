"""fit: the one training loop, for every model of the series, on one device or many, resumable to the byte."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from pixellib import checkpoints, devices
from pixellib.evaluation import bits_per_dim, evaluate
from pixellib.models.base import ImageModel
from pixellib.optim import Muon


class NonFiniteLoss(RuntimeError):
    """The loss or the weights became NaN or infinite; the last good state is kept."""


@dataclass(frozen=True)
class Settings:
    """How to train: steps, never wall-clock, so that a run repeats.

    steps: optimiser steps. batch_size: images per step, over all processes. learning_rate: of Adam. muon: learning rate
    of Muon, which then moves the model's `kernels` in place of Adam; or None. Both follow `warmup_steps` of linear
    rise, then `schedule`: "constant", "cosine" (to zero at the last step) or "exponential" (times `decay` per step).
    betas, eps: of Adam. average: decay per step of the exponential moving average of the weights, in step t at most
    (1 + t) / (10 + t), so that the first ones are soon forgotten; or None. clip: largest gradient norm, or None.
    accumulate: parts a batch is split into. precision: "auto", "bf16" or "fp32". validate_every: steps between
    validations; 0: only at the end.
    """

    steps: int
    batch_size: int
    learning_rate: float = 1e-3
    muon_lr: float | None = None
    schedule: str = "constant"
    decay: float = 1.0
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    ema_decay: float | None = 0.999
    max_grad_norm: float | None = None
    accumulate: int = 1
    precision: str = "auto"
    validate_every: int = 0

    def __post_init__(self):
        if self.schedule not in ("constant", "cosine", "exponential"):
            raise ValueError(f"unknown schedule {self.schedule!r}; choose one of constant, cosine, exponential")
        if min(self.steps, self.batch_size, self.accumulate) < 1:
            raise ValueError("steps, batch_size and accumulate must be at least 1")

    def lr_factor(self, step: int) -> float:
        """What share of its learning rate an optimiser has in a step, counted from 0."""
        rise = min(1.0, (step + 1) / (self.warmup_steps + 1))
        factor = {
            "constant": 1.0,
            "cosine": 0.5 * (1 + math.cos(math.pi * step / self.steps)),
            "exponential": self.decay**step,
        }
        return rise * factor[self.schedule]


@dataclass
class Training:
    """What `fit` returns. model: with averaged weights. seconds: of wall-clock, validation included, over all
    restarts. history: a dict per validation, with the mean training loss since the one before.
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
) -> Training:
    """Minimise `model.loss` over images, uint8 (N, C, H, W), and return the model with averaged weights.

    labels: int64 (N,), given to the loss as its condition. transform: applied to each batch as it is drawn (say,
    binarise). initialise: whether `model.initialise` sees the images before the first step; not for a model that was
    trained before. unit: of the loss in bar and logs, "nats" per image or "bits" per dimension. folder: where resume
    state (every `save_every` seconds) and TensorBoard scalars go; a training found there goes on, and ends in the same
    bytes as one never interrupted, because all of a step's noise is seeded by (seed, step, process). With an
    initialised process group (see `process_group`) each process takes its share of every batch, under
    DistributedDataParallel.

    Raises NonFiniteLoss naming the step; CheckpointError if the folder holds a training with other settings.
    """
    world, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    if settings.batch_size % (world * settings.accumulate):
        raise ValueError(
            f"batch_size {settings.batch_size} does not divide into {world} processes x {settings.accumulate} parts"
        )
    if len(images) < settings.batch_size:
        raise ValueError(f"batch_size {settings.batch_size} is larger than the {len(images)} training images")
    device = devices.resolve(_local_device(device))
    folder = None if folder is None else Path(folder)
    resume_path = None if folder is None else folder / "resume.pt"
    identity = _plain({**asdict(settings), "seed": seed, "num_images": len(images), "initialise": initialise})

    state = checkpoints.load_resume(resume_path) if resume_path else None
    if state and state["identity"] != identity:
        theirs = state["identity"]
        other = [f"{key} {theirs.get(key)}, not {mine}" for key, mine in identity.items() if theirs.get(key) != mine]
        raise checkpoints.CheckpointError(
            f"{resume_path} belongs to another training ({'; '.join(other)}): delete it to start afresh"
        )
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        torch.manual_seed(seed)
        if initialise and not state:
            model.initialise(images)
        model.to(device).train()
        average = AveragedModel(model, multi_avg_fn=_moving_average(settings.ema_decay)) if settings.ema_decay else None
        optimisers = _optimisers(model, settings)
        start, history, seconds_before, total, num_totalled = 0, [], 0.0, 0.0, 0
        if state:
            checkpoints.restore(model, state["model"], resume_path)
            for optimiser, kept in zip(optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(kept)
            if average:
                average.load_state_dict(state["average"])
            start, history, seconds_before = state["step"], state["history"], state["seconds"]
            total, num_totalled = state["since_validation"]

        objective: nn.Module = _Objective(model)
        if world > 1:
            devices_of_one = [device] if device.type == "cuda" else None
            objective = DistributedDataParallel(objective, device_ids=devices_of_one, broadcast_buffers=False)
        writer = stack.enter_context(_writer(folder, start)) if folder and rank == 0 else None
        bar = stack.enter_context(tqdm(
            total=settings.steps, initial=start, desc="train", unit="step", disable=not progress or rank > 0,
            mininterval=0.5 if sys.stderr.isatty() else 20.0,
        ))  # fmt: skip
        clock = started = time.monotonic()
        losses: list[Tensor] = []  # not looked at yet, so that a GPU need not wait at every step

        def look(step: int) -> Tensor:
            """The losses up to that of `step` as float64, or NonFiniteLoss naming the first bad one."""
            window = torch.stack(losses).cpu().double() if losses else torch.empty(0)
            bad = (~torch.isfinite(window)).nonzero().flatten().tolist()
            if bad:
                value, when = window[bad[0]].item(), step - len(window) + bad[0] + 1
                raise NonFiniteLoss(f"the loss is {value} at step {when}{_kept(resume_path)}")
            if not all(torch.isfinite(p).all() for p in model.parameters()):
                raise NonFiniteLoss(f"the weights are not finite after step {step}{_kept(resume_path)}")
            losses.clear()
            return window

        def save(step: int) -> None:
            checkpoints.save_resume(
                resume_path,
                {
                    "identity": identity,
                    "step": step,
                    "model": model.state_dict(),
                    "optimisers": [optimiser.state_dict() for optimiser in optimisers],
                    "average": average.state_dict() if average else None,
                    "history": history,
                    "since_validation": [total, num_totalled],
                    "seconds": seconds_before + time.monotonic() - started,
                },
            )

        for step, batch in zip(
            range(start, settings.steps),
            _batches(len(images), settings.batch_size, seed, start),
            strict=False,
        ):
            _seed_step(seed, step, world, rank, device)
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = optimiser.defaults["lr"] * settings.lr_factor(step)
            parts = batch[rank::world].chunk(settings.accumulate)
            loss = torch.zeros((), device=device)
            for i, part in enumerate(parts):
                x = images[part].to(device)
                condition = None if labels is None else labels[part].to(device)
                if transform is not None:
                    x = transform(x, None)
                last = i == len(parts) - 1
                with nullcontext() if last or world == 1 else objective.no_sync():
                    try:
                        with devices.autocast(device, settings.precision):
                            part_loss = objective(x, condition) / len(parts)
                    except FloatingPointError as error:  # a likelihood refuses what a network gave it
                        look(step)
                        raise NonFiniteLoss(f"{error} at step {step + 1}{_kept(resume_path)}") from error
                    part_loss.backward()
                loss += part_loss.detach()
            if settings.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            for optimiser in optimisers:
                optimiser.step()
            model.zero_grad()
            if average:
                average.update_parameters(model)
            losses.append(loss)

            done = step + 1
            due_validation = done == settings.steps or (settings.validate_every and done % settings.validate_every == 0)
            due_save = resume_path and rank == 0 and (done == settings.steps or time.monotonic() - clock > save_every)
            if due_validation or due_save or len(losses) == 50:
                window = look(done)
                total, num_totalled = total + window.sum().item(), num_totalled + len(window)
                shown = _in_unit(window.mean().item(), unit, images.shape[1:])
                bar.update(len(window))
                bar.set_postfix_str(f"{shown:.4f} {unit}", refresh=False)
                if writer:
                    writer.add_scalar(f"loss/train ({unit})", shown, done)
            if due_validation:
                row = {"step": done, f"train_{unit}": round(_in_unit(total / num_totalled, unit, images.shape[1:]), 5)}
                total, num_totalled = 0.0, 0
                if validation is not None:
                    held_out = evaluate(
                        average.module if average else model, validation, labels=validation_labels, transform=transform,
                        seed=seed, batch_size=min(200, settings.batch_size), device=str(device),
                        precision=settings.precision,
                    )  # fmt: skip
                    row[f"validation_{unit}"] = round(_in_unit(-held_out.log_likelihood, unit, images.shape[1:]), 5)
                    if writer:
                        writer.add_scalar(f"loss/validation ({unit})", row[f"validation_{unit}"], done)
                row["seconds"] = round(seconds_before + time.monotonic() - started, 1)
                history.append(row)
            if due_save:
                save(done)
                clock = time.monotonic()
    result = average.module if average else model
    return Training(
        result.eval(), settings.steps, settings.steps * settings.batch_size,
        seconds_before + time.monotonic() - started, history,
    )  # fmt: skip


@contextmanager
def process_group() -> Iterator[int]:
    """The rank among the processes that torchrun started, with their group set up; 0 where there is only this one."""
    if "LOCAL_RANK" not in os.environ:
        yield 0
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


class _Objective(nn.Module):
    """The loss as a forward pass, where DistributedDataParallel hooks in."""

    def __init__(self, model: ImageModel):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        return self.model.loss(x, condition)


def _optimisers(model: ImageModel, settings: Settings) -> list[torch.optim.Optimizer]:
    kernels = model.kernels() if settings.muon_lr else []
    others = [p for p in model.parameters() if not any(p is kernel for kernel in kernels)]
    adam = torch.optim.Adam(others, lr=settings.learning_rate, betas=settings.betas, eps=settings.eps, fused=True)
    return [adam, Muon(kernels, lr=settings.muon_lr)] if kernels else [adam]


def _moving_average(decay: float) -> Callable:
    def update(averaged: list[Tensor], current: list[Tensor], num_averaged: Tensor) -> None:
        t = num_averaged.item()
        get_ema_multi_avg_fn(min(decay, (1 + t) / (10 + t)))(averaged, current, num_averaged)

    return update


def _batches(num_images: int, batch_size: int, seed: int, start: int) -> Iterator[Tensor]:
    """Indices of step start, start + 1, ...: a new permutation each epoch, its remainder left out."""
    per_epoch = num_images // batch_size
    epoch, first = divmod(start, per_epoch)
    while True:
        order = torch.randperm(num_images, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        for i in range(first, per_epoch):
            yield order[i * batch_size : (i + 1) * batch_size]
        epoch, first = epoch + 1, 0


def _seed_step(seed: int, step: int, world: int, rank: int, device: torch.device) -> None:
    """Make the global generators a function of (seed, step, process): a resumed training then needs no generator
    state.
    """
    number = (seed * 0x9E3779B1 + step * world + rank) % 2**32
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(number)


def _local_device(device: str) -> str:
    if "LOCAL_RANK" in os.environ and device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


def _writer(folder: Path, start: int):
    from torch.utils.tensorboard import SummaryWriter  # a second to import: only where it is used

    return SummaryWriter(str(folder / "tensorboard"), purge_step=start)


def _in_unit(nats: float, unit: str, shape) -> float:
    return bits_per_dim(nats, tuple(shape)) if unit == "bits" else nats


def _kept(resume_path: Path | None) -> str:
    return f"; the last good state is kept in {resume_path}" if resume_path and resume_path.exists() else ""


def _plain(value):
    """Tuples as lists, so that what was saved compares equal to what is asked."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
