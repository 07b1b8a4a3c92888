"""Notebook 09: PixelCNN++, small enough for two cores, and without one of its parts after another."""

from dataclasses import replace

from pixellib.likelihoods import Categorical, LogisticMixture
from pixellib.models import PixelCNNpp
from pixellib.series.catalogue.common import COMPARED, EMBEDDED, FAST, SHAPES, chain, quick
from pixellib.series.run import Plan, Run
from pixellib.training import Settings

# the published network, trained as published
_PAPER = Plan(
    Settings(
        steps=400_000, batch_size=128, learning_rate=1e-3, schedule="exponential", decay=0.999995, betas=(0.95, 0.9995),
        ema_decay=0.9995, validate_every=2_000,
    ),
    options={"num_filters": 160, "num_resnets": 5, "embedding": None, "dropout": 0.5, "init_output": False},
)  # fmt: skip


def _run(name: str, title: str, settings: Settings, dataset: str = "mnist", **options) -> Run:
    """Options: of the model. The components of its mixture begin side by side, unless init_output is False."""
    usual = {"num_filters": 32, "num_resnets": 1, "embedding": 16, "dropout": 0.0, "init_output": True}
    return Run(
        name=name,
        title=title,
        dataset=dataset,
        family=PixelCNNpp,
        options={**SHAPES[dataset], **usual, **options},
        plans={
            "quick": Plan(
                quick(settings), options={"num_filters": 18, "num_resnets": 1}, dataset=EMBEDDED[dataset], num_test=100,
                num_validation=100,
            ),
            "reference": Plan(settings, num_validation=1000),
            "paper": _PAPER,
        },
    )  # fmt: skip


def _settings(steps: int, **changes) -> Settings:
    usual = {"batch_size": 16, **FAST, "warmup_steps": 200, "schedule": "cosine", "max_grad_norm": 1.0}
    return Settings(**{"steps": steps, **usual, "validate_every": steps // 10, **changes})


def _short(
    name: str, title: str, dataset: str = "mnist", ema_decay: float | None = 0.998, initialise: bool = True, **options
) -> Run:
    """A short training of a smaller network, the trunk of notebook 10, usually with one of its parts taken away; to be
    compared with others, so with three seeds.
    """
    options = {"num_filters": 16, **options}
    settings = _settings(1_000, warmup_steps=50, ema_decay=ema_decay, precision="fp32")
    title = f"PixelCNN++, {options['num_filters']} filters: {title}"
    run = _run(f"pixelcnnpp-{name}", title, settings, dataset, **options)
    divisible = replace(_PAPER, options={**_PAPER.options, "num_filters": 162})  # by three, for colours in order
    plans = {**run.plans, "reference": Plan(settings, **COMPARED), "paper": divisible}
    return replace(run, plans=plans, initialise=initialise, seeds=3, ships=False)


def _trial(name: str, title: str, steps: int, dataset: str = "mnist", settings: dict | None = None, **options) -> Run:
    """A training of about eight minutes on two cores with bfloat16, looked at on validation images only, that served to
    choose network and settings of the long ones. `steps` are what takes so long.
    """
    changes = {"warmup_steps": 100, "validate_every": steps // 4, **(settings or {})}
    likelihood = _SOFTMAX if dataset == "mnist" else {}
    run = _run(f"search-{dataset}-{name}", title, _settings(steps, **changes), dataset, **{**likelihood, **options})
    plans = {**run.plans, "reference": Plan(_settings(steps, **changes), num_validation=2000)}
    return replace(run, plans=plans, evaluate_on=("validation",), ships=False)


def _rates(factor: float) -> dict:
    return {name: factor * rate for name, rate in FAST.items()}


_SOFTMAX = {"likelihood": Categorical(), "init_output": False}  # a softmax has nothing to lay side by side

_UNCOUPLED = LogisticMixture(10, coupled=False)

_BEST = replace(
    _run("pixelcnnpp-mnist-softmax", "PixelCNN++, softmax, 48 filters", _settings(3_600), num_filters=48, **_SOFTMAX),
    anchor=(0.808, "a Gated PixelCNN, UvA deep learning tutorial 12, 150 epochs on a GPU"),
)

RUNS = [
    _run("pixelcnnpp-mnist", "PixelCNN++, mixture of logistics", _settings(4_000)),
    _run("pixelcnnpp-mnist-softmax-32", "PixelCNN++, softmax, 32 filters", _settings(4_000), **_SOFTMAX),
    *chain(_BEST, 3_600, 3_600, 3_600),
    _short("without-nothing", "whole"),
    _short("without-mixture", "softmax", **_SOFTMAX),
    _short("without-mixture-small", "softmax, logits small", **_SOFTMAX, output_std=0.1),
    _short("without-shortcuts", "no shortcuts", shortcuts=False),
    _short("without-scales", "one scale, as many blocks", num_scales=1, num_resnets=4),
    _short("with-dropout", "dropout of one half", dropout=0.5),
    _short("without-average", "weights not averaged", ema_decay=None),
    _short("without-initialisation", "not initialised", initialise=False, init_output=False),
    _short("without-data", "not from data", data_init=False),
    _short("without-spread", "components begin together", init_output=False),
    _short("without-places", "components begin together, parameters small", init_output=False, output_std=0.1),
    _short("colour", "colours", "cifar10", num_filters=18),
    _short("colour-uncoupled", "colours not coupled", "cifar10", num_filters=18, likelihood=_UNCOUPLED),
    _short("colour-softmax", "colours, softmax", "cifar10", num_filters=18, **_SOFTMAX),
    replace(
        _run("pixelcnnpp-cifar10", "PixelCNN++, mixture of logistics", _settings(5_000), dataset="cifar10"),
        anchor=(2.92, "Salimans et al. 2017"),
    ),
    _trial("base", "32 filters, 1 block", 2_600),
    _trial("48-filters", "48 filters", 1_530, num_filters=48),
    _trial("2-blocks", "2 blocks", 1_730, num_resnets=2),
    _trial("batch-32", "batches of 32", 1_500, settings={"batch_size": 32}),
    _trial("half-rates", "half the learning rates", 2_600, settings=_rates(0.5)),
    _trial("twice-rates", "twice the learning rates", 2_600, settings=_rates(2)),
    _trial("batch-32-rates", "batches of 32, 1.4 times the rates", 1_500, settings={"batch_size": 32, **_rates(1.4)}),
    _trial("scalar", "levels as numbers", 2_800, embedding=None),
    _trial("base", "32 filters, 1 block", 1_930, "cifar10"),
    _trial("48-filters", "48 filters", 1_200, "cifar10", num_filters=48),
    _trial("batch-32", "batches of 32", 1_125, "cifar10", {"batch_size": 32}),
    _trial("half-rates", "half the learning rates", 1_930, "cifar10", _rates(0.5)),
    _trial("scalar", "levels as numbers", 2_000, "cifar10", embedding=None),
]
