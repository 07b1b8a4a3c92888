"""Notebook 01: variational and importance-weighted autoencoders on binarised digits."""

from pixellib.models import IWAE
from pixellib.series.run import Plan, Run
from pixellib.training import Settings

_NATS = {(1, 1): 86.76, (1, 5): 85.54, (1, 50): 84.78, (2, 50): 82.90}  # Burda et al. by layers and samples, table 1
_QUICK = Settings(
    steps=200, batch_size=100, learning_rate=4e-3, schedule="cosine", ema_decay=0.98, validate_every=25
)  # fmt: skip
# the paper's 3,280 passes over the data at batch 20; its staircase of learning rates as a cosine
_PAPER = Settings(steps=8_200_000, batch_size=20, schedule="cosine", ema_decay=0.9999, validate_every=205_000)


def _iwae(
    num_layers: int, num_samples: int, settings: Settings, start: Run | None = None, name: str = "", title: str = "",
    tight: bool = True,
) -> Run:  # fmt: skip
    """More samples go on from where fewer ended.

    name, title: what is added to those that say how many layers and samples there are; such a run is a control. tight:
    whether a tight bound is computed, which takes minutes.
    """
    kind = "VAE, 1 sample" if num_samples == 1 else f"IWAE, {num_samples} samples"
    published = None if name else _NATS.get((num_layers, num_samples))
    return Run(
        name=f"iwae{'2' if num_layers == 2 else ''}-k{num_samples}{name}",
        title=f"{kind}, {'two stochastic layers' if num_layers == 2 else 'one stochastic layer'}{title}",
        dataset="mnist",
        family=IWAE,
        options={
            "num_latents": [100, 50] if num_layers == 2 else [50],
            "num_hidden": [200, 100] if num_layers == 2 else [200],
            "num_samples": num_samples,
        },
        plans={
            "quick": Plan(_QUICK, num_test=500, num_validation=500, num_samples=500),
            "reference": Plan(settings, start=start, num_samples=5000 if tight else None),
            "paper": Plan(_PAPER, num_samples=5000),
        },
        unit="nats",
        binarised=True,
        anchor=published and (published, "Burda et al. 2016, table 1"),
        ships=not name,
    )


def _settings(steps: int, batch_size: int, learning_rate: float) -> Settings:
    return Settings(
        steps, batch_size, learning_rate, warmup_steps=500, schedule="cosine", ema_decay=0.9995,
        validate_every=steps // 40,
    )  # fmt: skip


_CYCLES = {5: _settings(30_000, 64, 5e-4), 50: _settings(24_000, 16, 3e-4)}  # by samples, one after the other
_K1 = _iwae(1, 1, _settings(160_000, 128, 1.5e-3))
_K5 = _iwae(1, 5, _CYCLES[5], start=_K1)
_K1_PART1 = _iwae(
    1, 1, _CYCLES[5], start=_K1, name="-continued-part1", title=", continued as long as with 5", tight=False
)  # fmt: skip
_TWO_LAYERS_K1 = _iwae(2, 1, _settings(60_000, 256, 4e-3), tight=False)

RUNS = [
    _K1,
    _K5,
    _iwae(1, 50, _CYCLES[50], start=_K5),
    _K1_PART1,
    _iwae(1, 1, _CYCLES[50], start=_K1_PART1, name="-continued", title=", continued as long as with 50"),
    _TWO_LAYERS_K1,
    _iwae(2, 50, _settings(24_000, 16, 5e-4), start=_TWO_LAYERS_K1),
]
