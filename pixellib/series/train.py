"""The training of a run: its data and code go in, a checkpoint and a record that belong together come out."""

import time
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pixellib import checkpoints, devices, files
from pixellib.data.transforms import binarise
from pixellib.evaluation import evaluate
from pixellib.models import ImageModel
from pixellib.series.provenance import code_version, differences
from pixellib.series.splits import Splits
from pixellib.training import Training, fit

if TYPE_CHECKING:
    from pixellib.series.run import Run


def train(
    run: "Run", profile: str = "reference", *, device: str = "auto", seed: int = 0, resume: bool = True,
    progress: bool = True, compile: bool = False, until: float | None = None,
) -> dict:  # fmt: skip
    """Train (going on where an earlier call was stopped), evaluate, save checkpoint and record, return the record.

    The weights are stored in half precision and every number of the record is measured on weights so rounded.
    Checkpoint and record are written at the end, together: what is stopped before that leaves neither. A training that
    is finished is left as it is, and its record returned. resume: False discards what an earlier training left in the
    folder. In a `devices.process_group` every process calls this and takes its share of the work; the first one writes.
    compile, until: see `fit`. A training that this one begins with comes first, if it is missing, in the same way.

    Raises CheckpointError if the folder holds a training of another identity, RuntimeError while another process trains
    this run there, OutOfTime once it is `until`.
    """
    plan, folder, resolved = run.plan(profile), run.folder(profile, seed), devices.resolve(device)
    if plan.begins_with and not plan.begins_with.checkpoint_path(profile, seed):
        plan.begins_with.train(profile, device=device, seed=seed, progress=progress, compile=compile, until=until)
    with _lock(run, folder):
        if resume and (record := finished(run, profile, seed)):
            return record
        if compile:
            devices.check_compiler(resolved)
        splits = Splits(run, profile, seed)
        images, labels = splits.images("train"), splits.labels("train")
        held, held_labels = splits.held("validation", plan.num_validation), splits.labels("validation")
        model, before = run.build(profile, seed), {}
        if plan.begins_with:
            begin = plan.begins_with.trained(profile, seed, device)
            before = begin.record
            weights = begin.state_dict()
            if plan.trunk:
                weights = _without_output(begin, weights)
                _train_all_but(model, weights)
                weights = model.state_dict() | weights
            checkpoints.restore(model, weights, f"of {plan.begins_with.name}")
        identity = run.identity(profile, seed)
        _clear(folder, run.name, resume)
        code = _code_at_start(folder, identity)
        training = fit(
            model, images, plan.settings, labels=labels, validation=held,
            validation_labels=None if labels is None else held_labels[: len(held)],
            transform=binarise if run.binarised else None, initialise=run.initialise and not plan.begins_with,
            unit=run.unit, seed=seed + 1_000 * _trainings_before(run, profile), device=device, folder=folder,
            progress=progress, compile=compile, identity=identity, until=until,
        )  # fmt: skip
        _round_to_half(training.model)
        record = _described(run, profile, identity, before, training) | code
        record["hardware"] = devices.hardware(resolved)
        record["results"] = []
        for split in run.evaluate_on:
            record["results"] += evaluate_split(run, training.model, split, splits, device=device, progress=progress)
        record["sampling_seconds_per_image"] = round(sampling_seconds(training.model), 6)
        if _first_process():
            path = run.trained_path(profile, seed)
            checkpoints.save(path, training.model.state_dict(), record, dtype=torch.float16)
            record = checkpoints.read_header(path)
            files.write_json(path.with_suffix(".json"), record)
        _wait_for_all()
    return record


def _without_output(model: ImageModel, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A model's weights but for those of its output layer."""
    [name] = [name for name, module in model.named_modules() if module is model.output_layer]
    return {key: weight for key, weight in weights.items() if not key.startswith(f"{name}.")}


def _train_all_but(model: ImageModel, frozen: Collection[str]) -> None:
    """Freeze these weights. The output layer begins as its likelihood says, if the model asks for it."""
    for name, weight in model.named_parameters():
        weight.requires_grad_(name not in frozen)
    if model.init_output:
        model.likelihood.init_output_(model.output_layer, model.channels)


def _trainings_before(run: "Run", profile: str) -> int:
    """How many trainings this one goes on from; each draws batches and noise of its own."""
    before = run.plan(profile).begins_with
    return 1 + _trainings_before(before, profile) if before else 0


def evaluate_split(
    run: "Run", model: ImageModel, split: str, splits: Splits, *, device: str = "auto", progress: bool = False
) -> list[dict]:
    """Rows for the record: the bound that was trained, and on the test set the M-sample bound of the plan.

    All in float32, whatever the training was in: where a network's output is a mean or a scale, bfloat16 can cost a
    hundredth of a bit. splits: the run's data, which also say for which profile and seed this is.
    """
    plan = run.plan(splits.profile)
    images = splits.held(split, plan.num_test if split == "test" else plan.num_validation)
    labels = splits.labels(split)
    measure = partial(
        evaluate, model, images, labels=None if labels is None else labels[: len(images)], device=device,
        precision="fp32", progress=progress and f"evaluate {split}",
    )  # fmt: skip
    rows = [measure().as_record(split)]
    if split == "test" and plan.num_samples:
        started = time.monotonic()
        rows.append(measure(num_samples=plan.num_samples).as_record(split))
        rows[-1]["seconds"] = round(time.monotonic() - started, 1)
    if split == "test" and hasattr(model, "kl_per_layer"):
        rows[-1] |= _use_of_latents(model, images[:1000].to(next(model.parameters()).device))
    if split == "test" and run.symbols:
        rows[0] |= run.symbols.more_results(run, model, splits)
    return rows


@torch.no_grad()
def _use_of_latents(model: ImageModel, x: torch.Tensor) -> dict:
    """The mean KL divergence of each layer of latents from the top, in nats, and how many units are active."""
    generator = torch.Generator(x.device).manual_seed(0)
    use = {"kl_per_layer": [round(kl, 4) for kl in model.kl_per_layer(x, generator).mean(1).tolist()]}
    return use | ({"active_units": model.active_units(x)} if hasattr(model, "active_units") else {})


def _described(run: "Run", profile: str, identity: dict, before: Mapping, training: Training) -> dict:
    """The record of a training, still without results. before: the record of the one that it began with, or empty."""
    images_before = before.get("images_seen", 0)
    return {
        "name": run.name,
        "title": run.title,
        "dataset": identity["dataset"] + (", binarised" if run.binarised else ""),
        "factors": dict(run.factors),
        "profile": profile,
        "seed": identity["seed"],
        "unit": run.unit,
        "identity": identity,
        "identity_hash": checkpoints.identity_hash(identity),
        "num_parameters": sum(p.numel() for p in training.model.parameters()),
        "steps": training.steps,
        "start": before.get("name"),
        "start_images_seen": images_before,
        "images_seen": images_before + training.images_seen,
        "training_minutes": round(before.get("training_minutes", 0.0) + training.seconds / 60, 2),
        "history": training.history,
    }


def _lock(run: "Run", folder: Path) -> AbstractContextManager:
    """Keeps other processes from training in the folder; of a process group only the first one asks."""
    if not _first_process():
        return nullcontext()
    return files.locked(folder / ".run.lock", busy=f"another process trains {run.name} in {folder}: wait, or stop it")


def finished(run: "Run", profile: str, seed: int) -> dict | None:
    """The record of a training that was finished here; None if there is none, or no checkpoint beside it.

    CheckpointError if it is of another identity.
    """
    path = run.trained_path(profile, seed)
    if not path.exists() or not path.with_suffix(".json").exists():
        return None
    record = files.read_json(path.with_suffix(".json"), keys=("identity", "steps", "results"))
    if other := differences(record["identity"], run.identity(profile, seed)):
        raise checkpoints.CheckpointError(
            f"{path.parent} holds another training of {run.name}: its {'; its '.join(other[:10])}; --fresh discards it"
        )
    return record


def _clear(folder: Path, name: str, resume: bool) -> None:
    """Remove what an earlier training left, unless there is a state of it to go on from and that is wanted."""
    if _first_process():
        if not resume:
            (folder / "resume.pt").unlink(missing_ok=True)
        if not (folder / "resume.pt").exists():
            for file in ("start.json", f"{name}.safetensors", f"{name}.json"):
                (folder / file).unlink(missing_ok=True)
    _wait_for_all()


def _code_at_start(folder: Path, identity: Mapping) -> dict:
    """Versions of our code and of torch when the training of this folder began; None where that is not known.

    Kept beside the resume state, because they are no part of what the training is.
    """
    path, code = folder / "start.json", {"code_version": code_version(), "torch": torch.__version__}
    digest = checkpoints.identity_hash(identity)
    if (folder / "resume.pt").exists():
        kept = files.read_json(path) if path.exists() else {}
        return {key: kept.get(key) if kept.get("identity_hash") == digest else None for key in code}
    if _first_process():
        files.write_json(path, {"identity_hash": digest, **code})
    return code


@torch.no_grad()
def _round_to_half(model: ImageModel) -> None:
    """Round weights to half precision, as they will be stored, and keep them in the precision they are in."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())


def sampling_seconds(model: ImageModel, num_samples: int = 16) -> float:
    """Seconds for each of so many images that are drawn at once, classes being all the first."""
    device = next(model.parameters()).device
    condition = torch.zeros(num_samples).long() if getattr(model, "num_classes", None) else None
    for _ in range(2):  # the first one warms up
        started = time.monotonic()
        generator = torch.Generator(device).manual_seed(0)
        model.sample(num_samples, condition=condition, generator=generator).cpu()  # waits for a GPU
    return (time.monotonic() - started) / num_samples


def _first_process() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _wait_for_all() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
