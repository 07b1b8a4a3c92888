"""The registry: every named run of the series, and what was recorded of it."""

import json
from dataclasses import replace
from pathlib import Path

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
from pixellib.series import paths
from pixellib.series.permuted.symbols import Symbols
from pixellib.series.run import PROFILES, Plan, Run
from pixellib.training import Settings

__all__ = ["PROFILES", "Plan", "Run", "benchmark", "get", "names", "record", "record_path"]

_BURDA = "Burda et al. 2016, table 1"
_COMPARED = {"num_validation": 500, "num_test": 2000}  # many trainings, compared on the same images


def _iwae(
    num_samples: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    anchor: float | None,
    *,
    layers: int = 1,
    start: Run | None = None,
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
                    steps=200, batch_size=100, learning_rate=4e-3, schedule="cosine", ema_decay=0.98,
                    validate_every=25
                ),
                num_test=500, num_validation=500, num_samples=500,
            ),
            "reference": Plan(
                Settings(
                    steps=steps, batch_size=batch_size, learning_rate=learning_rate, warmup_steps=500,
                    schedule="cosine", ema_decay=0.9995, validate_every=steps // 40,
                ),
                start=start,
                num_samples=5000 if anchor else None,  # who only starts another chain is not compared with anybody
            ),
            # the paper's 3,280 passes over the data at batch 20; its staircase of learning rates as a cosine
            "paper": Plan(
                Settings(steps=8_200_000, batch_size=20, schedule="cosine", ema_decay=0.9999, validate_every=205_000),
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
    channels, size = (1, [28, 28]) if dataset == "mnist" else (3, [32, 32])
    settings = Settings(
        steps=steps, batch_size=64, learning_rate=1e-3, warmup_steps=200, schedule="cosine", max_grad_norm=100.0,
        ema_decay=0.998, validate_every=steps // 20,
    )  # fmt: skip
    return Run(
        name=name,
        title=title,
        dataset=dataset,
        family=VAE,
        options={"channels": channels, "size": size, "num_latents": [20], "likelihood": likelihood, **options},
        plans={
            "quick": Plan(
                replace(settings, steps=60, batch_size=16, learning_rate=3e-3, warmup_steps=5, ema_decay=0.9,
                        validate_every=15),
                options={"num_filters": 16}, dataset="mnist" if dataset == "mnist" else "offline_crops", num_test=40,
                num_validation=40, num_samples=10,
            ),
            "reference": Plan(settings, num_samples=num_samples),
            "paper": Plan(
                replace(settings, steps=400_000, batch_size=128, ema_decay=0.9999, validate_every=10_000),
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
    muon_lr: float | None = None,
    ema_decay: float | None = 0.999,
    warmup_steps: int = 200,
    precision: str = "auto",
    anchor: tuple[float, str] | None = None,
    binarised: bool = False,
    trial: bool = False,
    ablation: bool = False,
    initialise: bool = True,
    small: dict | None = None,
    paper: Plan | None = None,
    **options,
) -> Run:
    """An autoregressive model. The quick profile trains a small one, with the options `small`, on embedded images.

    trial: a short training, looked at on validation images only, for choosing the settings of a long one. ablation: one
    to be compared with others, with three seeds.
    """
    channels, size = (1, [28, 28]) if dataset == "mnist" else (3, [32, 32])
    settings = Settings(
        steps=steps, batch_size=batch_size, learning_rate=learning_rate, muon_lr=muon_lr, warmup_steps=warmup_steps,
        schedule="cosine", max_grad_norm=1.0, ema_decay=ema_decay, precision=precision,
        validate_every=steps // (4 if trial else 10),
    )  # fmt: skip
    thin = {
        "num_layers": 3,
        "num_filters": 18,
        "kernel_size": 3,
        **({"dilations": [1, 2, 1]} if "dilations" in options else {}),
    }
    long = Plan(replace(settings, steps=200_000, batch_size=128, ema_decay=0.9999, validate_every=5_000))
    return Run(
        name=name,
        title=title,
        dataset=dataset,
        family=family,
        options={"channels": channels, "size": size, **options},
        plans={
            "quick": Plan(
                replace(settings, steps=60, batch_size=16, warmup_steps=5, ema_decay=0.9, validate_every=15),
                options=small or thin, dataset="mnist" if dataset == "mnist" else "offline_crops", num_test=100,
                num_validation=100,
            ),
            "reference": Plan(settings, **(_COMPARED if ablation else {"num_validation": 2000 if trial else 1000})),
            "paper": paper or long,
        },
        unit="nats" if binarised else "bits",
        binarised=binarised,
        initialise=initialise,
        seeds=3 if ablation else 1,
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


def _pixelcnnpp(name: str, title: str, steps: int, **changes) -> Run:
    """PixelCNN++, small enough for two cores; the paper profile is the published network, trained as published."""
    published = Settings(
        steps=400_000, batch_size=128, learning_rate=1e-3, schedule="exponential", decay=0.999995, betas=(0.95, 0.9995),
        ema_decay=0.9995, validate_every=2_000,
    )  # fmt: skip
    options = {"num_filters": 32, "num_resnets": 1, "embedding": 16, "dropout": 0.0, **_FAST, **changes}
    options.setdefault("spread", "likelihood" not in options)  # a softmax has nothing to lay side by side
    return _pixelcnn(
        name,
        title,
        PixelCNNpp,
        steps,
        small={"num_filters": 18, "num_resnets": 1},
        paper=Plan(published, options=_RELEASED),
        **options,
    )


def _ablation(name: str, title: str, **changes) -> Run:
    """A short training of a smaller PixelCNN++, the trunk of notebook 10, with one of its parts taken away."""
    smaller = {"num_filters": 16, "warmup_steps": 50, "ema_decay": 0.998, "precision": "fp32", **changes}
    title = f"PixelCNN++, 16 filters: {title}"
    return _pixelcnnpp(f"pixelcnnpp-without-{name}", title, 1_000, ablation=True, **smaller)


def _vqvae(name: str, title: str, dataset: str) -> Run:
    """The codes of a small VQ-VAE are symbols that nobody put in order.

    The paper's commitment, 0.25, is for squared errors; log-likelihoods weigh more, and with it most codes fall idle.
    """
    channels, size = (1, [28, 28]) if dataset == "mnist" else (3, [32, 32])
    settings = Settings(
        steps=4_000, batch_size=64, learning_rate=2e-3, warmup_steps=100, schedule="cosine", max_grad_norm=1000.0,
        ema_decay=0.998, validate_every=400,
    )  # fmt: skip
    quick = replace(settings, steps=60, batch_size=16, warmup_steps=5, ema_decay=0.9, validate_every=15)
    return Run(
        name=name,
        title=title,
        dataset=dataset,
        family=VQVAE,
        options={"channels": channels, "size": size, "commitment": 5.0},
        plans={
            "quick": Plan(
                quick, options={"num_filters": 8}, dataset="mnist" if dataset == "mnist" else "offline_crops", num_test=40,
                num_validation=40,
            ),
            "reference": Plan(settings),
            "paper": Plan(replace(settings, steps=200_000, batch_size=128, ema_decay=0.9999, validate_every=5_000)),
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
    steps: int = 1_000,
    rates: dict | None = None,
    spread: bool = True,
    num_head_filters: int | None = None,
    trial: bool = False,
    seeds: int = 1,
    **symbols,
) -> Run:
    """A run of notebook 10: images of a data set, or codes of a VQ-VAE; a head; what is permuted, or else done.

    Heads called truncate are made for symbols: components can be as narrow as one. spread: whether those of a mixture
    begin side by side. num_head_filters: of PixelCNNpp. rates: of learning, in place of the usual ones. trial: a training
    that only served to choose settings and leaves the test set alone.
    """
    dataset = {"mnist": "mnist", "grey": "cifar10", "codes-mnist": "mnist", "codes-cifar10": "cifar10"}[of]
    codes = _VQVAE[dataset] if of.startswith("codes") else None
    side = (28 if dataset == "mnist" else 32) // (4 if codes else 1)
    options = {"channels": 1, "size": [side, side], "likelihood": likelihood or _HEADS[head], "embedding": embedding}
    options["spread"] = spread and head != "softmax"
    if num_head_filters is not None:
        options["num_head_filters"] = num_head_filters
    trunk = (
        {"num_layers": 4, "num_filters": 32, "kernel_size": 3}
        if codes
        else {"num_filters": 16, "num_resnets": 1, "dropout": 0.0}
    )
    settings = Settings(
        steps=steps, batch_size=64 if codes else 16, warmup_steps=50, schedule="cosine", max_grad_norm=1.0, ema_decay=0.998,
        precision="fp32", validate_every=steps // 10, **(rates or _FAST),
    )  # fmt: skip
    quick = replace(settings, steps=60, batch_size=16, warmup_steps=5, ema_decay=0.9, validate_every=15)
    return Run(
        name=f"permuted-{of}-{head}-{arm}",
        title=title or f"{head}, {arm}",
        dataset=dataset,
        family=GatedPixelCNN if codes else PixelCNNpp,
        options=options | trunk,
        codes=codes,
        symbols=Symbols(**symbols),
        plans={
            "quick": Plan(
                quick, dataset="mnist" if dataset == "mnist" else "offline_crops", num_test=40, num_validation=40
            ),
            "reference": Plan(settings, **_COMPARED),
            "paper": Plan(replace(settings, steps=50_000, batch_size=128, ema_decay=0.9999, validate_every=1_000)),
        },
        evaluate_on=("validation",) if trial else ("train", "validation", "test"),
        seeds=seeds,
        ships=of == "grey" and head != "censored" and arm in ("identity", "both"),  # notebook 10 looks at their draws
    )  # fmt: skip


def _truncate(num_components: int = 10, narrowest: float = -9.0) -> LogisticMixture:
    return LogisticMixture(num_components, "truncated", min_log_scale=narrowest)


_HEADS = {"softmax": Categorical(), "censored": LogisticMixture(), "truncated": _truncate()}
_HALF = {"learning_rate": 4e-3, "muon_lr": 0.01}
_COMPONENTS = (  # arm, number of components, rates, seeds; 85 have as many outputs as a softmax
    ("identity", 1, None, 1), ("identity", 85, None, 1), ("both", 1, None, 1), ("both", 3, None, 1),
    ("both", 30, None, 2), ("both", 85, None, 3), ("both", 85, _HALF, 3), ("both", 256, _HALF, 1),
)  # fmt: skip
_CODES = (  # head, arm, order
    ("softmax", "raw", None), ("truncated", "raw", None), ("truncated", "packed", "used first"),
    ("truncated", "reordered", "neighbours"),
)  # fmt: skip
_ARMS = {"identity": None, "targets": "targets", "both": "inputs and targets"}
_UVA = "UvA deep learning tutorial 12, 150 epochs on a GPU"
_OORD = "van den Oord et al. 2016, {}"
_FAST = {"learning_rate": 8e-3, "muon_lr": 0.02}
_RELEASED = {"num_filters": 160, "num_resnets": 5, "embedding": None, "dropout": 0.5, "spread": False}
_DESIGN = {"num_layers": 7, "num_filters": 48, "kernel_size": 3, "dilations": [1, 2, 1, 4, 1, 2, 1], "embedding": 16}

_K1 = _iwae(1, steps=160_000, batch_size=128, learning_rate=1.5e-3, anchor=86.76)
_K5 = _iwae(5, steps=30_000, batch_size=64, learning_rate=5e-4, anchor=85.54, start=_K1)
_TWO_K1 = _iwae(1, steps=60_000, batch_size=256, learning_rate=4e-3, anchor=None, layers=2)
_VQVAE = {dataset: _vqvae(f"vqvae-{dataset}", "VQ-VAE", dataset) for dataset in ("mnist", "cifar10")}

_RUNS = {
    run.name: run
    for run in (
        _K1,
        _K5,
        _iwae(50, steps=24_000, batch_size=16, learning_rate=3e-4, anchor=84.78, start=_K5),
        _TWO_K1,
        _iwae(50, steps=24_000, batch_size=16, learning_rate=5e-4, anchor=82.90, layers=2, start=_TWO_K1),
        _vae("vae-bernoulli-grey", "VAE, cross-entropy on grey values", GreyBernoulli()),
        _vae("vae-gaussian-unit", "VAE, Gaussian of unit variance", Gaussian("unit")),
        _vae("vae-gaussian-bounded", "VAE, Gaussian, bounded variance", Gaussian("bounded")),
        _vae("vae-gaussian-free", "VAE, Gaussian, free variance", Gaussian("free")),
        _vae("vae-logistic-bounded", "VAE, discretised logistic, bounded scale", DiscretizedLogistic("bounded")),
        _vae("vae-logistic-free", "VAE, discretised logistic, free scale", DiscretizedLogistic("free")),
        _vae("vae-dmol-uncoupled", "VAE, mixture, channels not coupled", LogisticMixture(coupled=False)),
        _vae("vae-dmol", "VAE, mixture of logistics", LogisticMixture()),
        _vae("vae-dmol-large", "VAE, mixture, larger network", LogisticMixture(), num_filters=48, depth=1),
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
        _pixelcnn(
            "pixelcnn-mnist-5x30",
            "PixelCNN, 5 layers of 30",
            PixelCNN,
            3_000,
            num_layers=5,
            num_filters=30,
            kernel_size=5,
        ),
        _pixelcnn(
            "pixelcnn-mnist-9x63",
            "PixelCNN, 9 layers of 63",
            PixelCNN,
            800,
            num_layers=9,
            num_filters=63,
            kernel_size=5,
        ),
        _pixelcnn(
            "gated-mnist-5x30",
            "Gated PixelCNN, 5 layers of 30",
            GatedPixelCNN,
            3_000,
            num_layers=5,
            num_filters=30,
            kernel_size=5,
        ),
        _pixelcnn(
            "gated-mnist-9x63",
            "Gated PixelCNN, 9 layers of 63",
            GatedPixelCNN,
            800,
            num_layers=9,
            num_filters=63,
            kernel_size=5,
        ),
        _trial("base", "as planned", 640),
        _trial("scalar", "levels as numbers", 640, embedding=None),
        _trial("rate", "twice the learning rate", 640, learning_rate=4e-3),
        _trial("rate4", "four times the learning rate", 640, learning_rate=8e-3),
        _trial("muon", "four times the learning rate, kernels moved by Muon", 640, **_FAST),
        _trial("average", "weights not averaged", 640, ema_decay=None),
        _trial("wide", "64 features", 380, num_filters=64),
        _trial("dilation", "not dilated", 640, dilations=None),
        _pixelcnn(
            "gated-mnist",
            "Gated PixelCNN, our design",
            GatedPixelCNN,
            4_000,
            **_FAST,
            anchor=(0.808, _UVA),
            **(_DESIGN | {"num_filters": 64}),
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
            **_FAST,
            embedding=16,
            dataset="cifar10",
            num_layers=12,
            num_filters=30,
            kernel_size=5,
            anchor=(3.03, _OORD.format("60 hours on 32 GPUs")),
        ),
        _pixelcnn(
            "gated-cifar10-class",
            "Gated PixelCNN, given the class",
            GatedPixelCNN,
            2_000,
            **_FAST,
            embedding=16,
            dataset="cifar10",
            num_layers=5,
            num_filters=30,
            kernel_size=5,
            num_classes=10,
        ),
        _pixelcnnpp("pixelcnnpp-mnist", "PixelCNN++, mixture of logistics", 4_000),
        _pixelcnnpp("pixelcnnpp-mnist-softmax", "PixelCNN++, softmax", 4_000, likelihood=Categorical()),
        _ablation("nothing", "whole"),
        _ablation("mixture", "softmax", likelihood=Categorical()),
        _ablation("shortcuts", "no shortcuts", shortcuts=False),
        _ablation("average", "weights not averaged", ema_decay=None),
        _ablation("initialisation", "not initialised", initialise=False, spread=False),
        _ablation("spread", "components begin together", spread=False),
        _pixelcnnpp(
            "pixelcnnpp-cifar10",
            "PixelCNN++, mixture of logistics",
            5_000,
            dataset="cifar10",
            anchor=(2.92, "Salimans et al. 2017"),
        ),
        *(
            _permuted(of, head, arm, permuted=permuted, seeds=3)
            for of in ("mnist", "grey")
            for head in _HEADS
            for arm, permuted in _ARMS.items()
        ),
        *(
            _permuted(
                "grey", head, f"{arm}-scalar", f"{head}, {arm}, levels as numbers", permuted=permuted, embedding=None
            )
            for head in ("softmax", "truncated")
            for arm, permuted in _ARMS.items()
        ),
        *(
            _permuted(
                "grey",
                "truncated",
                f"{arm}-k{num}{'-half-rate' * bool(rates)}",
                f"truncate, {arm}, {num} components{', half the learning rates' * bool(rates)}",
                permuted=_ARMS[arm],
                likelihood=_truncate(num),
                rates=rates,
                seeds=seeds,
            )
            for arm, num, rates, seeds in _COMPONENTS
        ),
        *(
            _permuted(
                "grey",
                "truncated",
                f"both-w{window}",
                f"truncate, both, within windows of {window}",
                permuted=_ARMS["both"],
                window=window,
            )
            for window in (4, 16, 64)
        ),
        *(
            _permuted(
                "grey", head, f"{arm}-long", f"{head}, {arm}, three times as long", permuted=_ARMS[arm], steps=3_000
            )
            for head in ("softmax", "truncated")
            for arm in ("identity", "both")
        ),
        *(
            _permuted(
                "grey",
                head,
                f"both-{name}",
                f"{head}, both, {told}",
                permuted=_ARMS["both"],
                rates=rates,
                trial=True,
            )
            for head in ("softmax", "truncated")
            for name, told, rates in (
                ("twice-rate", "twice the learning rates", {"learning_rate": 1.6e-2, "muon_lr": 0.04}),
                ("half-rate", "half the learning rates", _HALF),
                ("fine-rate", "an eighth of Adam's learning rate", {"learning_rate": 1e-3, "muon_lr": 0.02}),
            )
        ),
        *(
            _permuted(
                "grey",
                head,
                "both-deep",
                f"{head}, both, a hidden layer before the head",
                permuted=_ARMS["both"],
                num_head_filters=256,
                seeds=seeds,
            )
            for head, seeds in (("softmax", 1), ("truncated", 2))
        ),
        *(
            _permuted(
                "grey",
                "truncated",
                f"both-k{num}-together",
                f"truncate, both, {num} components that begin together",
                permuted=_ARMS["both"],
                likelihood=_truncate(num),
                spread=False,
            )
            for num in (10, 85)
        ),
        _permuted(
            "grey",
            "truncated",
            "both-broad",
            "truncate, both, scales as published",
            permuted=_ARMS["both"],
            likelihood=_truncate(narrowest=-7.0),
        ),
        *(
            _permuted(of, "truncated", "reordered", permuted=_ARMS["both"], order="neighbours", seeds=3)
            for of in ("mnist", "grey")
        ),
        *_VQVAE.values(),
        *(
            _permuted(of, head, arm, permuted=_ARMS["both"], order=order, seeds=3)
            for of in ("codes-mnist", "codes-cifar10")
            for head, arm, order in _CODES
        ),
    )
}


def names() -> list[str]:
    """All runs, in the order of the notebooks."""
    return list(_RUNS)


def get(name: str) -> Run:
    """The run of that name. ValueError lists the valid ones."""
    if name not in _RUNS:
        raise ValueError(f"unknown run {name!r}; choose one of {', '.join(_RUNS)}")
    return _RUNS[name]


def record_path(name: str, seed: int = 0) -> Path:
    """Where the record of a run, trained with that seed, is shipped."""
    return paths.RESULTS / f"{get(name).name}{f'-seed{seed}' if seed else ''}.json"


def record(name: str, seed: int = 0) -> dict:
    """The shipped record of a run: its settings, cost and results. FileNotFoundError if it has not been recorded."""
    path = record_path(name, seed)
    if not path.exists():
        command = f"pixellib train {name}" + f" --seed {seed}" * (seed > 0)
        raise FileNotFoundError(f"run {name} has no record yet; train it with: {command}")
    return json.loads(path.read_text(encoding="utf-8"))


def benchmark() -> dict:
    """The shipped record of `make bench`: hardware and rows. FileNotFoundError if there is none."""
    return json.loads((paths.RESULTS / "bench.json").read_text(encoding="utf-8"))
