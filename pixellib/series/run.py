"""A run: a name that stands for one training, with its settings for each profile.

`Run.train` leaves a checkpoint and a record in build/runs/; a maintainer promotes them to data/checkpoints/ and
figures/results/ (`make publish`). Everybody else loads what was shipped.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pixellib import checkpoints, data, devices, files
from pixellib.models import ImageModel
from pixellib.series import paths, train
from pixellib.series.provenance import WEIGHTS, differences, plain
from pixellib.series.splits import Splits
from pixellib.training import Settings

if TYPE_CHECKING:
    from pixellib.series.permuted.symbols import Symbols

PROFILES = ("quick", "reference", "paper")


@dataclass(frozen=True)
class Plan:
    """One profile of a run. settings: of the training. options, dataset: where they differ from the run's.

    start: the run whose trained weights, of the same profile and seed, it begins with; its cost is counted in. trunk:
    the same, but the output layer is the run's own, with any layers that the other has not, and nothing else is
    trained.
    num_test: how many test images the record is made on, None for all; num_validation: how many of other splits.
    num_samples: M of the test bound, None where the likelihood is exact.
    """

    settings: Settings
    options: Mapping = field(default_factory=dict)
    dataset: str | None = None
    start: "Run | None" = None
    trunk: "Run | None" = None
    num_test: int | None = None
    num_validation: int = 2000
    num_samples: int | None = None

    @property
    def begins_with(self) -> "Run | None":
        """The run that must be trained before, whether for all weights or for the trunk."""
        return self.start or self.trunk


@dataclass(frozen=True, eq=False)
class Run:
    """A name with a data set, a model and a plan per profile.

    family: the model's class, called with `options`. unit: of its numbers, "nats" per image or "bits" per dimension.
    binarised: pixels are drawn as 0 or 255 with their grey value as probability, anew for each training batch, once and
    with a fixed seed for validation and test. symbols: what becomes of levels, or which codes take their place, in
    notebook 10. initialise: whether the untrained model sees images (`ImageModel.initialise`). seeds: how many
    trainings, with seeds 0, 1, ..., are recorded, to see how much is chance. evaluate_on: the splits that its record
    has results of; a run that only served to choose settings leaves the test set alone. ships: whether its checkpoint
    is part of the repository (its record always is). anchor: the published value for the same thing, in the run's unit
    (nats: negative log-likelihood), and where it stands. factors: what tells it from the other runs of a comparison.
    """

    name: str
    title: str
    dataset: str
    family: type[ImageModel]
    options: Mapping
    plans: Mapping[str, Plan]
    unit: str = "bits"
    binarised: bool = False
    symbols: "Symbols | None" = None
    initialise: bool = True
    seeds: int = 1
    evaluate_on: Sequence[str] = ("train", "validation", "test")
    ships: bool = True
    anchor: tuple[float, str] | None = None
    factors: Mapping[str, str] = field(default_factory=dict)

    # What it is

    def plan(self, profile: str = "reference") -> Plan:
        """ValueError for an unknown profile, or one this run does not have."""
        if profile not in PROFILES:
            raise ValueError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")
        if profile not in self.plans:
            raise ValueError(f"run {self.name} has no profile {profile!r}; it has {', '.join(self.plans)}")
        return self.plans[profile]

    def options_of(self, profile: str = "reference") -> dict:
        """The options that the model of a profile is built with."""
        return {**self.options, **self.plan(profile).options}

    def upstream(self, profile: str = "reference", seed: int = 0) -> dict[str, tuple["Run", int]]:
        """The trainings, by run and seed, that must be finished before this one: "start" or "trunk", whose weights it
        begins with, "codes", whose codes it sees, and "order", whose predictions order its symbols. Mostly none.
        """
        plan, symbols = self.plan(profile), self.symbols
        found = {"start": (plan.start, seed), "trunk": (plan.trunk, seed)}
        if symbols:
            found |= {"codes": (symbols.codes, 0), "order": (symbols.softmax, seed)}
        return {role: training for role, training in found.items() if training[0]}

    def identity(self, profile: str = "reference", seed: int = 0) -> dict:
        """What a training of this run is: plain values that decide which weights come of it.

        Resume state, checkpoint and record of another identity are refused. An upstream is named with the digest of its
        weights, null while it has none here. The name, the profile's and how the result is evaluated are no part of it.
        """
        plan = self.plan(profile)
        dataset = plan.dataset or self.dataset
        sizes = {row["name"]: row["sizes"] for row in data.describe()}
        upstream = {
            role: {"run": run.name, WEIGHTS: run.weights_digest(profile, number)}
            for role, (run, number) in self.upstream(profile, seed).items()
        }
        return plain({
            "family": self.family.__name__,
            "options": self.options_of(profile),
            "dataset": dataset,
            "split_sizes": sizes[dataset],
            "binarised": self.binarised,
            "symbols": self.symbols and self.symbols.identity(),
            "initialise": self.initialise,
            "upstream": upstream,
            "settings": asdict(plan.settings),
            "seed": seed,
        })  # fmt: skip

    def build(self, profile: str = "reference", seed: int = 0) -> ImageModel:
        """The untrained model, with weights drawn from the seed as a training draws them; the global generator is left
        alone.
        """
        options = self.options_of(profile)
        if self.symbols:
            options["likelihood"] = self.symbols.likelihood(options["likelihood"], seed)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return self.family(**options)

    def images(self, split: str, profile: str = "reference", seed: int = 0) -> torch.Tensor:
        """The images of a split as the run sees them, uint8 (N, C, H, W): binarised ones as drawn once, except for
        training; as the symbols of that seed, if it has some. Reads them anew at each call.
        """
        return Splits(self, profile, seed).images(split)

    def labels(self, split: str, profile: str = "reference") -> torch.Tensor | None:
        """The condition of each image of a split, int64 (N,), where the model is conditioned on the class."""
        return Splits(self, profile).labels(split)

    # What was trained

    def load_or_train(
        self, profile: str = "reference", *, retrain: bool = False, device: str = "auto", seed: int = 0
    ) -> ImageModel:
        """The trained model, on `device`, in eval mode; prints which of the two it did.

        The quick profile always trains. The others load the shipped checkpoint, or one trained here before, and train
        only where there is neither, or with retrain=True: then a training finished here before is discarded, one that
        was interrupted goes on. The model has an attribute `record`: the record of that training, a dict.

        Raises CheckpointError if the checkpoint found is not of this identity.
        """
        plan = self.plan(profile)
        resolved = devices.resolve(device)
        path = None if retrain or profile == "quick" else self.checkpoint_path(profile, seed)
        if path is None:
            print(f"{self.name}: training {plan.settings.steps:,} steps ({profile} profile)", flush=True)
            path = self.trained_path(profile, seed)
            resume = profile != "quick" and not path.exists()  # who waits below finds the other's training finished
            alone = devices.world_and_rank()[0] == 1  # the processes of a group train together
            with files.locked(path.parent / ".use.lock") if alone else nullcontext():
                self.train(profile, device=device, seed=seed, resume=resume)
                return self.load(path, profile, seed).to(resolved)
        model = self.load(path, profile, seed).to(resolved)
        print(f"{self.name}: loaded {paths.shorten(path)}", flush=True)
        return model

    def load_finished(self, profile: str = "reference", *, device: str = "auto", seed: int = 0) -> ImageModel:
        """The trained model, shipped or made here, on `device`, in eval mode, with its `record`. FileNotFoundError
        names the command that trains it, where there is none; CheckpointError: see `load`.
        """
        self.plan(profile)
        path = self.checkpoint_path(profile, seed)
        if path is None:
            options = f" --profile {profile}" * (profile != "reference") + f" --seed {seed}" * (seed > 0)
            command = f"pixellib train {self.name}{options}"
            raise FileNotFoundError(f"run {self.name} has no trained model here; train it with: {command}")
        return self.load(path, profile, seed).to(devices.resolve(device))

    def trained(self, profile: str, seed: int = 0, device: str = "auto") -> ImageModel:
        """The trained model for a run that builds on it: loaded wherever that is possible, in the quick profile too."""
        path = self.checkpoint_path(profile, seed)
        if path is not None:
            try:
                return self.load(path, profile, seed).to(devices.resolve(device))
            except checkpoints.CheckpointError:
                if profile != "quick":  # which trains anew whatever it needs
                    raise
        return self.load_or_train(profile, device=device, seed=seed)

    def load(self, path: Path | str, profile: str = "reference", seed: int = 0) -> ImageModel:
        """The model of a checkpoint, in eval mode on the CPU, with its header in the attribute `record`.

        Raises FileNotFoundError if there is none; CheckpointError if it is broken, or of another run, profile or
        identity, naming what differs.
        """
        tensors, header = checkpoints.load(path)
        if not isinstance(header.get("identity"), dict):
            raise checkpoints.CheckpointError(f"checkpoint {path} does not say which training it is of")
        theirs = {key: header.get(key) for key in ("name", "profile")} | header["identity"]
        ours = {"name": self.name, "profile": profile} | self.identity(profile, seed)
        if other := differences(theirs, ours):
            raise checkpoints.CheckpointError(
                f"checkpoint {path} does not fit run {self.name} ({profile}, seed {seed}): its {'; its '.join(other)}"
            )
        model = self.build(profile, seed)
        checkpoints.restore(model, tensors, path)
        model.record = header
        return model.eval()

    def folder(self, profile: str, seed: int = 0) -> Path:
        """Where this run is trained."""
        return paths.WORK / self.name / f"{profile}-seed{seed}"

    def trained_path(self, profile: str, seed: int = 0) -> Path:
        """Where a training that is finished here leaves its checkpoint, and its record beside it, as .json."""
        return self.folder(profile, seed) / f"{self.name}.safetensors"

    def checkpoint_path(self, profile: str = "reference", seed: int = 0) -> Path | None:
        """The checkpoint shipped, or else trained here; None if there is neither."""
        trained_here = self.trained_path(profile, seed)
        shipped = paths.CHECKPOINTS / f"{self.name}.safetensors"
        candidates = [shipped, trained_here] if profile == "reference" and seed == 0 else [trained_here]
        return next((path for path in candidates if path.exists()), None)

    def record_path(self, seed: int = 0) -> Path:
        """Where the record of the reference training with that seed is shipped."""
        return paths.RESULTS / f"{self.name}{f'-seed{seed}' if seed else ''}.json"

    def weights_digest(self, profile: str = "reference", seed: int = 0) -> str | None:
        """The digest of the trained weights, as the checkpoint's header states it, or else the shipped record, where
        the weights do not ship; None if there is neither.
        """
        if path := self.checkpoint_path(profile, seed):
            return checkpoints.read_header(path).get(WEIGHTS)
        record = self.record_path(seed)
        return files.read_json(record).get(WEIGHTS) if profile == "reference" and record.exists() else None

    # Training it

    def train(
        self,
        profile: str = "reference",
        *,
        device: str = "auto",
        seed: int = 0,
        resume: bool = True,
        progress: bool = True,
        compile: bool = False,
        until: float | None = None,
    ) -> dict:
        """Train (going on where an earlier call was stopped), evaluate, save checkpoint and record, return the record.

        See `pixellib.series.train.train`. resume: False discards what an earlier training left in the folder. compile,
        until: see `fit`.
        """
        return train.train(
            self, profile, device=device, seed=seed, resume=resume, progress=progress, compile=compile, until=until
        )

    def evaluate(
        self, model: ImageModel, split: str, profile: str = "reference", *, seed: int = 0, device: str = "auto"
    ) -> list[dict]:
        """Rows for the record, see `pixellib.series.train.evaluate_split`."""
        return train.evaluate_split(self, model, split, Splits(self, profile, seed), device=device)
