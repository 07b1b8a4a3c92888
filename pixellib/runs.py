"""The registry: every named run of the series, its settings per profile, and how its model is had.

A run is trained by `Run.train` into build/runs/, and promoted from there to data/checkpoints/ and figures/results/ by a
maintainer (`make publish`). Everybody else loads what was shipped.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import torch

from pixellib import __version__, checkpoints, data, devices
from pixellib.data.transforms import binarise
from pixellib.evaluation import evaluate
from pixellib.likelihoods import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    Gaussian,
    GreyBernoulli,
    Likelihood,
    LogisticMixture,
)
from pixellib.models import IWAE, VAE, VQVAE, GatedPixelCNN, ImageModel, PixelCNN, PixelCNNpp
from pixellib.symbols import Symbols
from pixellib.training import Settings, fit

PROFILES = ("quick", "reference", "paper")
_ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = _ROOT / "data" / "checkpoints"  # shipped
RESULTS = _ROOT / "figures" / "results"  # shipped
WORK = Path(os.environ.get("PIXELLIB_RUNS") or _ROOT / "build" / "runs")  # trained here


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
    start: str | None = None
    num_images: int | None = None
    num_test: int | None = None
    num_validation: int = 2000
    num_samples: int | None = None


@dataclass(frozen=True)
class Run:
    """A name with a data set, a model and a plan per profile.

    family: the model's class, called with `options`. binarised: pixels are drawn as 0 or 255 with their grey value as
    probability, anew for each training batch, once and with a fixed seed for validation and test.
    symbols: what images become, for the experiment of notebook 10; their permutation is that of the training's seed.
    initialise: whether the untrained model sees images (`ImageModel.initialise`).
    seeds: how many trainings, with seeds 0, 1, ..., are recorded, to see how much is chance.
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
        if not (self.symbols and self.symbols.codes):
            return data.load(self.plan(profile).dataset or self.dataset, split)[0]
        encoder = get(self.symbols.codes)
        if not encoder._find_checkpoint(profile, 0):
            encoder.load_or_train(profile)
        return _codes(encoder.name, encoder._find_checkpoint(profile, 0), profile, split)

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
            print(f"{self.name}: loaded {path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else path}", flush=True)
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
            begin = get(plan.start).load_or_train(profile, device=device, seed=seed)
            checkpoints.restore(model, begin.state_dict(), f"of {plan.start}")
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
            "symbols": asdict(self.symbols) if self.symbols else None,
            "settings": _plain(asdict(plan.settings)),
            "seed": seed,
            "code_version": code_version(),
            "num_parameters": sum(p.numel() for p in training.model.parameters()),
            "steps": training.steps,
            "start": plan.start,
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
            checkpoints.write_json(folder / f"{self.name}.json", record)
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
        measure = partial(evaluate, model, images, labels=labels, device=device, progress=progress)
        rows = [measure().as_record(split)]
        if split == "test" and plan.num_samples:
            started = time.monotonic()
            rows.append(measure(num_samples=plan.num_samples).as_record(split))
            rows[-1]["seconds"] = round(time.monotonic() - started, 1)
        return rows

    def folder(self, profile: str, seed: int = 0) -> Path:
        """Where this run is trained."""
        return WORK / self.name / f"{profile}-seed{seed}"

    def _options(self, profile: str) -> dict:
        return {**self.options, **self.plan(profile).options}

    def _find_checkpoint(self, profile: str, seed: int) -> Path | None:
        here = self.folder(profile, seed) / f"{self.name}.safetensors"
        shipped = CHECKPOINTS / f"{self.name}.safetensors"
        candidates = [shipped, here] if profile == "reference" and seed == 0 else [here]
        return next((path for path in candidates if path.exists()), None)


_BURDA = "Burda et al. 2016, table 1"


def _iwae(
    num_samples: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    anchor: float | None,
    *,
    layers: int = 1,
    start: str | None = None,
) -> Run:
    """More samples go on from where fewer ended: early in training one sample teaches as much as fifty."""
    two = layers == 2
    kind = "VAE, 1 sample" if num_samples == 1 else f"IWAE, {num_samples} samples"
    return Run(
        name=f"iwae{'2' if two else ''}-k{num_samples}",
        title=f"{kind}, {'two' if two else 'one'} stochastic layer{'s' * two}",
        dataset="mnist",
        family=IWAE,
        options={
            "num_latents": [100, 50] if two else [50],
            "num_hidden": [200, 100] if two else [200],
            "num_samples": num_samples,
        },
        plans={
            "quick": Plan(
                Settings(
                    steps=200, batch_size=100, learning_rate=4e-3, schedule="cosine", average=0.98,
                    validate_every=25
                ),
                num_test=500, num_validation=500, num_samples=500,
            ),
            "reference": Plan(
                Settings(
                    steps=steps, batch_size=batch_size, learning_rate=learning_rate, warmup_steps=500,
                    schedule="cosine", average=0.9995, validate_every=steps // 40,
                ),
                start=start,
                num_samples=5000 if anchor else None,  # who only starts another chain is not compared with anybody
            ),
            # the paper's 3,280 passes over the data at batch 20; its staircase of learning rates as a cosine
            "paper": Plan(
                Settings(steps=8_200_000, batch_size=20, schedule="cosine", average=0.9999, validate_every=205_000),
                num_samples=5000,
            ),
        },
        unit="nats",
        binarised=True,
        anchor=anchor and (anchor, _BURDA),
    )  # fmt: skip


def _vae(
    name: str,
    title: str,
    likelihood,
    *,
    dataset: str = "cifar10",
    steps: int = 3_000,
    num_samples: int | None = 16,
    **options,
) -> Run:
    """A convolutional VAE on grey values or colours. The quick profile trains on embedded images of the same size."""
    shape = [1, 28, 28] if dataset == "mnist" else [3, 32, 32]
    settings = Settings(
        steps=steps, batch_size=64, learning_rate=1e-3, warmup_steps=200, schedule="cosine", clip=100.0,
        average=0.998, validate_every=steps // 20,
    )  # fmt: skip
    return Run(
        name=name,
        title=title,
        dataset=dataset,
        family=VAE,
        options={"shape": shape, "num_latents": [20], "likelihood": likelihood, **options},
        plans={
            "quick": Plan(
                replace(settings, steps=60, batch_size=16, learning_rate=3e-3, warmup_steps=5, average=0.9,
                        validate_every=15),
                options={"width": 16}, dataset="mnist" if dataset == "mnist" else "offline_crops", num_test=40,
                num_validation=40, num_samples=10,
            ),
            "reference": Plan(settings, num_samples=num_samples),
            "paper": Plan(
                replace(settings, steps=400_000, batch_size=128, average=0.9999, validate_every=10_000),
                num_samples=1000,
            ),
        },
    )  # fmt: skip


def _pixelcnn(
    name: str,
    title: str,
    family: type[ImageModel],
    steps: int,
    *,
    dataset: str = "mnist",
    batch_size: int = 16,
    learning_rate: float = 4e-3,
    average: float | None = 0.999,
    anchor: tuple[float, str] | None = None,
    binarised: bool = False,
    trial: bool = False,
    ablation: bool = False,
    initialise: bool = True,
    **options,
) -> Run:
    """An autoregressive model. The quick profile trains a small one on embedded images.

    trial: a short training, looked at on validation images only, for choosing the settings of a long one. ablation: one
    to be compared with others, with two seeds.
    """
    channels, size = (1, [28, 28]) if dataset == "mnist" else (3, [32, 32])
    settings = Settings(
        steps=steps, batch_size=batch_size, learning_rate=learning_rate, warmup_steps=200, schedule="cosine", clip=1.0,
        average=average, validate_every=steps // (4 if trial else 10),
    )  # fmt: skip
    small = {"num_layers": 3, "width": 18, "kernel": 3, **({"dilations": [1, 2, 1]} if "dilations" in options else {})}
    paper = Plan(replace(settings, steps=200_000, batch_size=128, average=0.9999, validate_every=5_000))
    if family is PixelCNNpp:
        small = {"num_filters": 18, "num_resnets": 1}
        published = Settings(
            steps=400_000, batch_size=128, learning_rate=1e-3, schedule="exponential", decay=0.999995,
            betas=(0.95, 0.9995), average=0.9995, validate_every=2_000,
        )  # fmt: skip
        paper = Plan(published, options={"num_filters": 160, "num_resnets": 5, "embedding": None, "dropout": 0.5})
    return Run(
        name=name,
        title=title,
        dataset=dataset,
        family=family,
        options={"channels": channels, "size": size, **options},
        plans={
            "quick": Plan(
                replace(settings, steps=60, batch_size=16, warmup_steps=5, average=0.9, validate_every=15),
                options=small, dataset="mnist" if dataset == "mnist" else "offline_crops", num_test=100,
                num_validation=100,
            ),
            "reference": Plan(settings, num_validation=2000 if trial else 1000),
            "paper": paper,
        },
        unit="nats" if binarised else "bits",
        binarised=binarised,
        initialise=initialise,
        seeds=2 if ablation else 1,
        evaluate_on=("validation",) if trial else ("train", "validation", "test"),
        ships=not trial and not ablation,
        anchor=anchor,
    )  # fmt: skip


def _trial(name: str, title: str, steps: int, **changes) -> Run:
    """A try at `gated-mnist`. The steps of all take about equally long."""
    return _pixelcnn(
        f"gated-mnist-try-{name}",
        title,
        GatedPixelCNN,
        steps,
        trial=True,
        **(_DESIGN | {"learning_rate": 2e-3} | changes),
    )


def _ablation(name: str, title: str, **changes) -> Run:
    """A short training of PixelCNN++ with one of its parts taken away."""
    return _pixelcnn(f"pixelcnnpp-without-{name}", title, PixelCNNpp, 800, ablation=True, **(_SMALL | changes))


def _vqvae(name: str, title: str, dataset: str) -> Run:
    """The codes of a small VQ-VAE are symbols that nobody put in order."""
    shape = [1, 28, 28] if dataset == "mnist" else [3, 32, 32]
    settings = Settings(
        steps=4_000, batch_size=64, learning_rate=2e-3, warmup_steps=100, schedule="cosine", clip=1000.0,
        average=0.998, validate_every=400,
    )  # fmt: skip
    quick = replace(settings, steps=60, batch_size=16, warmup_steps=5, average=0.9, validate_every=15)
    return Run(
        name=name,
        title=title,
        dataset=dataset,
        family=VQVAE,
        options={"shape": shape},
        plans={
            "quick": Plan(
                quick, options={"width": 8}, dataset="mnist" if dataset == "mnist" else "offline_crops", num_test=40,
                num_validation=40,
            ),
            "reference": Plan(settings),
            "paper": Plan(replace(settings, steps=200_000, batch_size=128, average=0.9999, validate_every=5_000)),
        },
    )  # fmt: skip


def _permuted(
    of: str,
    head: str,
    arm: str,
    title: str = "",
    *,
    likelihood: Likelihood | None = None,
    embedding: int | None = 16,
    seeds: int = 1,
    **symbols,
) -> Run:
    """A run of notebook 10: images of a data set, or codes of a VQ-VAE; a head; what is permuted, or else done."""
    dataset = {"mnist": "mnist", "grey": "cifar10", "codes-mnist": "mnist", "codes-cifar10": "cifar10"}[of]
    codes = {"codes": "vqvae-" + dataset} if of.startswith("codes") else {}
    side = (28 if dataset == "mnist" else 32) // (4 if codes else 1)
    options = {"channels": 1, "size": [side, side], "likelihood": likelihood or _HEADS[head], "embedding": embedding}
    trunk = (
        {"num_layers": 4, "width": 32, "kernel": 3} if codes else {"num_filters": 16, "num_resnets": 1, "dropout": 0.0}
    )
    settings = Settings(
        steps=1_000, batch_size=64 if codes else 16, learning_rate=4e-3, warmup_steps=50, schedule="cosine", clip=1.0,
        average=0.998, validate_every=100,
    )  # fmt: skip
    quick = replace(settings, steps=60, batch_size=16, warmup_steps=5, average=0.9, validate_every=15)
    return Run(
        name=f"permuted-{of}-{head}-{arm}",
        title=title or f"{head}, {arm}",
        dataset=dataset,
        family=GatedPixelCNN if codes else PixelCNNpp,
        options=options | trunk,
        symbols=Symbols(**codes, **symbols),
        plans={
            "quick": Plan(
                quick, dataset="mnist" if dataset == "mnist" else "offline_crops", num_test=40, num_validation=40
            ),
            "reference": Plan(settings, num_validation=1000),
            "paper": Plan(replace(settings, steps=50_000, batch_size=128, average=0.9999, validate_every=1_000)),
        },
        seeds=seeds,
        ships=False,
    )  # fmt: skip


_HEADS = {"softmax": Categorical(), "absorb": LogisticMixture(), "truncate": LogisticMixture(edges="truncate")}
_ARMS = {"identity": None, "targets": "targets", "both": "inputs and targets"}
_UVA = "UvA deep learning tutorial 12, 150 epochs on a GPU"
_OORD = "van den Oord et al. 2016, {}"
_SMALL = {"num_filters": 32, "num_resnets": 1, "embedding": 16, "dropout": 0.0}
_DESIGN = {"num_layers": 7, "width": 48, "kernel": 3, "dilations": [1, 2, 1, 4, 1, 2, 1], "embedding": 16}

_RUNS = {
    run.name: run
    for run in (
        _iwae(1, steps=160_000, batch_size=128, learning_rate=1.5e-3, anchor=86.76),
        _iwae(5, steps=30_000, batch_size=64, learning_rate=5e-4, anchor=85.54, start="iwae-k1"),
        _iwae(50, steps=24_000, batch_size=16, learning_rate=3e-4, anchor=84.78, start="iwae-k5"),
        _iwae(1, steps=60_000, batch_size=256, learning_rate=4e-3, anchor=None, layers=2),
        _iwae(50, steps=24_000, batch_size=16, learning_rate=5e-4, anchor=82.90, layers=2, start="iwae2-k1"),
        _vae("vae-bernoulli-grey", "VAE, cross-entropy on grey values", GreyBernoulli()),
        _vae("vae-gaussian-unit", "VAE, Gaussian of unit variance", Gaussian("unit")),
        _vae("vae-gaussian-bounded", "VAE, Gaussian, bounded variance", Gaussian("bounded")),
        _vae("vae-gaussian-free", "VAE, Gaussian, free variance", Gaussian("free")),
        _vae("vae-logistic-bounded", "VAE, discretised logistic, bounded scale", DiscretizedLogistic("bounded")),
        _vae("vae-logistic-free", "VAE, discretised logistic, free scale", DiscretizedLogistic("free")),
        _vae("vae-dmol-uncoupled", "VAE, mixture, channels not coupled", LogisticMixture(coupled=False)),
        _vae("vae-dmol", "VAE, mixture of logistics", LogisticMixture()),
        _vae("vae-dmol-large", "VAE, mixture, larger network", LogisticMixture(), width=48, depth=1),
        _vae("vae-dmol-2layer", "VAE, mixture, two stochastic layers", LogisticMixture(), num_latents=[20, 20]),
        _vae("vae-dmol-128", "VAE, mixture, 128 latents", LogisticMixture(), num_latents=[128]),
        *(
            _vae(
                f"vae-dmol-beta-{beta:g}",
                f"VAE, mixture, beta = {beta:g}",
                LogisticMixture(),
                beta=beta,
                num_samples=None,
            )
            for beta in (0.1, 3.0)
        ),
        _vae("vae-dmol-mnist", "VAE, mixture of logistics", LogisticMixture(), dataset="mnist"),
        _pixelcnn("pixelcnn-mnist-5x30", "PixelCNN, 5 layers of 30", PixelCNN, 3_000, num_layers=5, width=30, kernel=5),
        _pixelcnn("pixelcnn-mnist-9x63", "PixelCNN, 9 layers of 63", PixelCNN, 800, num_layers=9, width=63, kernel=5),
        _pixelcnn(
            "gated-mnist-5x30", "Gated PixelCNN, 5 layers of 30", GatedPixelCNN, 3_000, num_layers=5, width=30, kernel=5
        ),
        _pixelcnn(
            "gated-mnist-9x63", "Gated PixelCNN, 9 layers of 63", GatedPixelCNN, 800, num_layers=9, width=63, kernel=5
        ),
        _trial("base", "as planned", 640),
        _trial("scalar", "levels as numbers", 640, embedding=None),
        _trial("rate", "twice the learning rate", 640, learning_rate=4e-3),
        _trial("rate4", "four times the learning rate", 640, learning_rate=8e-3),
        _trial("average", "weights not averaged", 640, average=None),
        _trial("wide", "64 features", 380, width=64),
        _trial("dilation", "not dilated", 540, dilations=None),
        _pixelcnn(
            "gated-mnist",
            "Gated PixelCNN, our design",
            GatedPixelCNN,
            12_000,
            anchor=(0.808, _UVA),
            **(_DESIGN | {"width": 64}),
        ),
        _pixelcnn(
            "gated-mnist-class",
            "Gated PixelCNN, given the digit",
            GatedPixelCNN,
            3_000,
            num_classes=10,
            **_DESIGN,
        ),
        _pixelcnn(
            "pixelcnn-binary",
            "Gated PixelCNN, Bernoulli",
            GatedPixelCNN,
            4_000,
            binarised=True,
            likelihood=Bernoulli(),
            anchor=(81.30, _OORD.format("one fixed binarisation")),
            **_DESIGN,
        ),
        _pixelcnn(
            "gated-cifar10-12x30",
            "Gated PixelCNN, 12 layers of 30",
            GatedPixelCNN,
            1_200,
            dataset="cifar10",
            num_layers=12,
            width=30,
            kernel=5,
            anchor=(3.03, _OORD.format("60 hours on 32 GPUs")),
        ),
        _pixelcnn(
            "gated-cifar10-class",
            "Gated PixelCNN, given the class",
            GatedPixelCNN,
            2_000,
            dataset="cifar10",
            num_layers=5,
            width=30,
            kernel=5,
            num_classes=10,
        ),
        _pixelcnn("pixelcnnpp-mnist", "PixelCNN++, mixture of logistics", PixelCNNpp, 4_000, **_SMALL),
        _pixelcnn(
            "pixelcnnpp-mnist-softmax", "PixelCNN++, softmax", PixelCNNpp, 4_000, likelihood=Categorical(), **_SMALL
        ),
        _ablation("nothing", "whole"),
        _ablation("mixture", "a softmax instead of the mixture", likelihood=Categorical()),
        _ablation("shortcuts", "without shortcuts", shortcuts=False),
        _ablation("average", "weights not averaged", average=None),
        _ablation("initialisation", "not initialised from data", initialise=False),
        _pixelcnn(
            "pixelcnnpp-cifar10",
            "PixelCNN++, mixture of logistics",
            PixelCNNpp,
            6_000,
            dataset="cifar10",
            anchor=(2.92, "Salimans et al. 2017"),
            **_SMALL,
        ),
        *(
            _permuted(of, head, arm, permuted=permuted, seeds=3)
            for of in ("mnist", "grey")
            for head in _HEADS
            for arm, permuted in _ARMS.items()
        ),
        *(
            _permuted(
                "grey", head, f"{arm}-scalar", f"{head}, {arm}, levels as numbers", permuted=_ARMS[arm], embedding=None
            )
            for head in ("softmax", "truncate")
            for arm in ("identity", "both")
        ),
        *(
            _permuted(
                "grey",
                "truncate",
                f"both-k{num}",
                f"truncate, both, {num} components",
                permuted=_ARMS["both"],
                likelihood=LogisticMixture(num, "truncate"),
            )
            for num in (1, 3, 30, 100)
        ),
        *(
            _permuted(
                "grey",
                "truncate",
                f"both-w{window}",
                f"truncate, both, within windows of {window}",
                permuted=_ARMS["both"],
                window=window,
            )
            for window in (4, 16, 64)
        ),
        *(
            _permuted(of, "truncate", "reordered", permuted=_ARMS["both"], reordered=True, seeds=3)
            for of in ("mnist", "grey")
        ),
        _vqvae("vqvae-mnist", "VQ-VAE", "mnist"),
        _vqvae("vqvae-cifar10", "VQ-VAE", "cifar10"),
        *(
            _permuted(of, head, arm, reordered=arm == "reordered")
            for of in ("codes-mnist", "codes-cifar10")
            for head, arm in (("softmax", "raw"), ("truncate", "raw"), ("truncate", "reordered"))
        ),
    )
}


def names() -> list[str]:
    """All runs, in the order of the notebooks."""
    return list(_RUNS)


def sweep() -> list[tuple[str, int]]:
    """Name and seed of each training of notebook 10."""
    return [(name, seed) for name, run in _RUNS.items() if run.symbols for seed in range(run.seeds)]


def get(name: str) -> Run:
    """The run of that name. ValueError lists the valid ones."""
    if name not in _RUNS:
        raise ValueError(f"unknown run {name!r}; choose one of {', '.join(_RUNS)}")
    return _RUNS[name]


def record_path(name: str, seed: int = 0) -> Path:
    """Where the record of a run, trained with that seed, is shipped."""
    return RESULTS / f"{get(name).name}{f'-seed{seed}' if seed else ''}.json"


def record(name: str, seed: int = 0) -> dict:
    """The shipped record of a run: its settings, cost and results. FileNotFoundError if it has not been recorded."""
    path = record_path(name, seed)
    if not path.exists():
        command = f"pixellib train {name}" + f" --seed {seed}" * (seed > 0)
        raise FileNotFoundError(f"run {name} has no record yet; train it with: {command}")
    return json.loads(path.read_text(encoding="utf-8"))


@cache
def _codes(encoder: str, checkpoint: Path, profile: str, split: str) -> torch.Tensor:
    run = get(encoder)
    model = run.load(checkpoint, profile)
    with torch.inference_mode():
        return torch.cat([model.encode(part) for part in run.images(split, profile).split(500)])


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
