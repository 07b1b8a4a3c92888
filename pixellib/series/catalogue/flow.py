"""Notebook 05: flows of dequantised digits, with the layers of the UvA deep learning tutorial 11."""

from pixellib.models import Flow
from pixellib.series.catalogue.common import SHAPES, paper, quick
from pixellib.series.run import Plan, Run
from pixellib.training import Settings

_SETTINGS = Settings(
    steps=3_000, batch_size=32, learning_rate=4e-3, muon_lr=0.02, warmup_steps=200, schedule="cosine",
    max_grad_norm=1.0, validate_every=300,
)  # fmt: skip
_ONE_SCALE = {"num_couplings": [8], "num_filters": [32]}
_THREE_SCALES = {"num_couplings": [2, 2, 4], "num_filters": [32, 48, 64]}
_UNIFORM, _VARIATIONAL = {"num_dequantisation_couplings": 0}, {"num_dequantisation_couplings": 4}


def _flow(name: str, title: str, published: float, **options) -> Run:
    """Options: of the model. published: test bits per dimension after 200 passes on a GPU (RTX 3090)."""
    small = {"num_couplings": [2] * len(options["num_couplings"]), "num_filters": [8] * len(options["num_filters"])}
    return Run(
        name=name,
        title=title,
        dataset="mnist",
        family=Flow,
        options={**SHAPES["mnist"], **options},
        plans={
            "quick": Plan(quick(_SETTINGS), options=small, num_test=100, num_validation=100, num_samples=8),
            "reference": Plan(_SETTINGS, num_samples=4),
            "paper": Plan(paper(_SETTINGS), num_samples=8),
        },
        anchor=(published, "a public implementation with the layers of the UvA tutorial, 200 epochs on a GPU"),
    )


RUNS = [
    _flow("flow-simple", "Flow, uniform noise", 1.0786, **_ONE_SCALE, **_UNIFORM),
    _flow("flow-vardeq", "Flow, learned noise", 1.0392, **_ONE_SCALE, **_VARIATIONAL),
    _flow("flow-multi-simple", "Flow of three scales, uniform noise", 1.0855, **_THREE_SCALES, **_UNIFORM),
    _flow("flow-multi-vardeq", "Flow of three scales, learned noise", 1.0201, **_THREE_SCALES, **_VARIATIONAL),
]
