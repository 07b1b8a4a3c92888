"""A run: a name that stands for one training, with its settings per profile, and how its model is had.

It is trained by `Run.train` into build/runs/, and promoted from there to data/checkpoints/ and figures/results/ by a
maintainer (`make publish`). Everybody else loads what was shipped.
"""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path

import torch

from pixellib import __version__, checkpoints, data, devices, files
from pixellib.data.transforms import binarise
from pixellib.evaluation import evaluate
from pixellib.models import ImageModel
from pixellib.series import paths
from pixellib.series.permuted.symbols import Symbols
from pixellib.training import Settings, fit

PROFILES = ("quick", "reference", "paper")


@dataclass(frozen=True)
class Plan:
    """One profile of a run. settings: of the training. options, dataset: where they differ from the run's.

    start: the run whose trained weights, of the same profile, it begins with; its cost is counted in.
    num_images: how many training images are used, None for all. num_test: how many test images the record is made on,
    None for all; num_validation: how many of other splits. num_samples: M of the test bound, None where the likelihood
    is exact.
    """

    settings: Settings
    options: Mapping = field(default_factory=dict)
    dataset: str | None = None
    start: "Run | None" = None
    num_images: int | None = None
    num_test: int | None = None
    num_validation: int = 2000
    num_samples: int | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """A name with a data set, a model and a plan per profile.

    family: the model's class, called with `options`. binarised: pixels are drawn as 0 or 255 with their grey value as
    probability, anew for each training batch, once and with a fixed seed for validation and test. codes: the run of a
    VQ-VAE whose codes take the place of pixels. symbols: what becomes of levels or codes in notebook 10; their
    permutation is that of the training's seed. initialise: whether the untrained model sees images
    (`ImageModel.initialise`). seeds: how many trainings, with seeds 0, 1, ..., are recorded, to see how much is chance.
    evaluate_on: the splits that its record has results of; a run that only served to choose settings leaves the test
    set alone. ships: whether its checkpoint is part of the repository (its record always is). anchor: the published
    value for the same thing, in the run's unit (nats: negative log-likelihood), and where it stands.
    """

    name: str
    title: str
    dataset: str
    family: type[ImageModel]
    options: Mapping
    plans: Mapping[str, Plan]
    unit: str = "bits"
    binarised: bool = False
    codes: "Run | None" = None
    symbols: Symbols | None = None
    initialise: bool = True
    seeds: int = 1
    evaluate_on: Sequence[str] = ("train", "validation", "test")
    ships: bool = True
    anchor: tuple[float, str] | None = None

    def plan(self, profile: str = "reference") -> Plan:
        """ValueError for an unknown profile, or one this run does not have."""
        if profile not in PROFILES:
            raise ValueError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")
        if profile not in self.plans:
            raise ValueError(f"run {self.name} has no profile {profile!r}; it has {', '.join(self.plans)}")
        return self.plans[profile]

    def build(self, profile: str = "reference", seed: int = 0) -> ImageModel:
        """The model with fresh weights, drawn from the global generator. seed: of the run's symbols, if it has some."""
        options = self._options(profile)
        if self.symbols:
            options["likelihood"] = self.symbols.likelihood(options["likelihood"], seed)
        return self.family(**options)

    def images(self, split: str, profile: str = "reference", seed: int = 0) -> torch.Tensor:
        """The images of a split as the run sees them, uint8 (N, C, H, W): binarised ones as drawn once, except for
        training; as the symbols of that seed, if it has some.
        """
        images = self._levels(split, profile)
        if self.binarised and split != "train":
            images = binarise(images, torch.Generator().manual_seed(0))
        return self.symbols.of(images, seed, partial(self._levels, "train", profile)) if self.symbols else images

    def _levels(self, split: str, profile: str) -> torch.Tensor:
        if self.codes is None:
            return data.load(self.plan(profile).dataset or self.dataset, split)[0]
        if not self.codes._find_checkpoint(profile, 0):
            self.codes.load_or_train(profile)
        return _codes(self.codes, self.codes._find_checkpoint(profile, 0), profile, split)

    def labels(self, split: str, profile: str = "reference") -> torch.Tensor | None:
        """The condition of each image of a split, int64 (N,), where the model is conditioned on the class."""
        if self._options(profile).get("num_classes") is None:
            return None
        return data.load(self.plan(profile).dataset or self.dataset, split)[1]

    def load_or_train(
        self, profile: str = "reference", *, retrain: bool = False, device: str = "auto", seed: int = 0
    ) -> ImageModel:
        """The trained model, on `device`, in eval mode; prints which of the two it did.

        The quick profile always trains. The others load the shipped checkpoint, or one trained here before, and train
        only where there is neither, or with retrain=True. The model's attribute `record` is the record of that
        training.
        """
        plan = self.plan(profile)
        resolved = devices.resolve(device)
        path = None if retrain or profile == "quick" else self._find_checkpoint(profile, seed)
        if path is None:
            print(f"{self.name}: training {plan.settings.steps:,} steps ({profile} profile)", flush=True)
            self.train(profile, device=device, seed=seed, resume=profile != "quick")
            path = self.folder(profile, seed) / f"{self.name}.safetensors"
        else:
            print(
                f"{self.name}: loaded {path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path}",
                flush=True,
            )
        return self.load(path, profile, seed).to(resolved)

    def load(self, path: Path | str, profile: str = "reference", seed: int = 0) -> ImageModel:
        """The model of a checkpoint, its header in the attribute `record`. CheckpointError if it is another run's, or
        has other model options."""
        tensors, header = checkpoints.load(path)
        for key, mine in {"name": self.name, "options": _plain(self._options(profile))}.items():
            if header.get(key) != mine:
                raise checkpoints.CheckpointError(
                    f"checkpoint {path} does not fit run {self.name} ({profile}): "
                    f"its {key} is {header.get(key)}, not {mine}"
                )
        with torch.random.fork_rng([]):
            model = self.build(profile, seed)
        checkpoints.restore(model, tensors, path)
        model.record = header
        return model.eval()

    def train(
        self,
        profile: str = "reference",
        *,
        device: str = "auto",
        seed: int = 0,
        resume: bool = True,
        progress: bool = True,
    ) -> dict:
        """Train (going on where an earlier call was stopped), save checkpoint and record, and return the record.

        The weights are stored in half precision and every number of the record is measured on what was stored.
        In a `training.process_group` every process calls this and takes its share of the work; the first one writes.
        """
        plan, folder = self.plan(profile), self.folder(profile, seed)
        if not resume:
            (folder / "resume.pt").unlink(missing_ok=True)
        resolved = devices.resolve(device)
        train_images = self.images("train", profile, seed)[: plan.num_images]
        validation = self.images("validation", profile, seed)
        labels, validation_labels = (self.labels(split, profile) for split in ("train", "validation"))
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            model = self.build(profile, seed)
        before = {"images_seen": 0, "training_minutes": 0.0}
        if plan.start:
            begin = plan.start.load_or_train(profile, device=device, seed=seed)
            checkpoints.restore(model, begin.state_dict(), f"of {plan.start.name}")
            before = begin.record
        training = fit(
            model, train_images, plan.settings, labels=None if labels is None else labels[: plan.num_images],
            validation=validation[: plan.num_validation],
            validation_labels=None if labels is None else validation_labels[: plan.num_validation],
            transform=binarise if self.binarised else None, initialise=self.initialise and not plan.start,
            unit=self.unit, seed=seed, device=device, folder=folder, progress=progress,
        )  # fmt: skip
        record = {
            "name": self.name,
            "title": self.title,
            "dataset": (plan.dataset or self.dataset) + (", binarised" if self.binarised else ""),
            "profile": profile,
            "unit": self.unit,
            "options": _plain(self._options(profile)),
            "symbols": self.symbols and asdict(self.symbols) | {"codes": self.codes and self.codes.name},
            "settings": _plain(asdict(plan.settings)),
            "seed": seed,
            "code_version": code_version(),
            "num_parameters": sum(p.numel() for p in training.model.parameters()),
            "steps": training.steps,
            "start": plan.start and plan.start.name,
            "start_images_seen": before["images_seen"],
            "images_seen": before["images_seen"] + training.images_seen,
            "training_minutes": round(before["training_minutes"] + training.seconds / 60, 2),
            "hardware": devices.hardware(resolved),
            "torch": torch.__version__,
            "history": training.history,
        }
        path = folder / f"{self.name}.safetensors"
        if _first_process():
            checkpoints.save(path, training.model.state_dict(), record, dtype=torch.float16)
        _wait_for_all()
        model = self.load(path, profile, seed).to(resolved)
        record["results"] = []
        for split in self.evaluate_on:
            record["results"] += self.evaluate(model, split, profile, device=device, seed=seed, progress=progress)
        record["sampling_seconds_per_image"] = round(_sampling_seconds(model), 6)
        if _first_process():
            checkpoints.save(path, model.state_dict(), record, dtype=torch.float16)
            files.write_json(folder / f"{self.name}.json", record)
        return record

    def evaluate(
        self,
        model: ImageModel,
        split: str,
        profile: str,
        *,
        device: str = "auto",
        seed: int = 0,
        progress: bool = False,
    ) -> list[dict]:
        """Rows for the record: the bound that was trained, and on the test set the M-sample bound of the plan."""
        plan, images, labels = self.plan(profile), self.images(split, profile, seed), self.labels(split, profile)
        images = images[: plan.num_test if split == "test" else plan.num_validation]
        if split == "train" and self.binarised:
            images = binarise(images, torch.Generator().manual_seed(0))
        labels = None if labels is None else labels[: len(images)]
        measure = partial(
            evaluate, model, images, labels=labels, device=device, precision=plan.settings.precision, progress=progress
        )
        rows = [measure().as_record(split)]
        if split == "test" and plan.num_samples:
            started = time.monotonic()
            rows.append(measure(num_samples=plan.num_samples).as_record(split))
            rows[-1]["seconds"] = round(time.monotonic() - started, 1)
        if split == "test" and self.symbols and not self.codes:
            rows[0]["bits_of"] = self._bits_of(model, split, profile, images[:1000])
        return rows

    @torch.inference_mode()
    def _bits_of(self, model: ImageModel, split: str, profile: str, images: torch.Tensor) -> dict[str, float]:
        """Mean bits of the pixels whose level, before it became a symbol, is 0, 255, or between."""
        device = next(model.parameters()).device
        bits = [-model.likelihood(model.params(x)).log_prob_per_pixel(x) for x in images.to(device).split(50)]
        bits = torch.cat(bits).cpu() / math.log(2)
        levels = self.symbols.levels(self._levels(split, profile)[: len(images)])[:, 0]
        groups = {"black": levels == 0, "between": (levels > 0) & (levels < 255), "white": levels == 255}
        return {name: round(bits[group].mean().item(), 5) for name, group in groups.items() if group.any()}

    def folder(self, profile: str, seed: int = 0) -> Path:
        """Where this run is trained."""
        return paths.WORK / self.name / f"{profile}-seed{seed}"

    def _options(self, profile: str) -> dict:
        return {**self.options, **self.plan(profile).options}

    def _find_checkpoint(self, profile: str, seed: int) -> Path | None:
        here = self.folder(profile, seed) / f"{self.name}.safetensors"
        shipped = paths.CHECKPOINTS / f"{self.name}.safetensors"
        candidates = [shipped, here] if profile == "reference" and seed == 0 else [here]
        return next((path for path in candidates if path.exists()), None)


@cache
def _codes(encoder: Run, checkpoint: Path, profile: str, split: str) -> torch.Tensor:
    model = encoder.load(checkpoint, profile)
    with torch.inference_mode():
        return torch.cat([model.encode(part) for part in encoder.images(split, profile).split(500)])


def code_version() -> str:
    """The package's version and a digest of its sources, for records."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"


def _sampling_seconds(model: ImageModel, num_samples: int = 16) -> float:
    condition = torch.zeros(num_samples).long() if getattr(model, "num_classes", None) else None
    model.sample(num_samples, condition=condition)
    started = time.monotonic()
    model.sample(num_samples, condition=condition).cpu()  # waits for a GPU
    return (time.monotonic() - started) / num_samples


def _plain(options: Mapping) -> dict:
    """As JSON gives it back: tuples as lists, likelihoods as the expressions that make them."""
    return json.loads(json.dumps(options, default=repr))


def _first_process() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _wait_for_all() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
