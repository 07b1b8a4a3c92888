"""What the families share: data sets and their shapes, and how a training is made short or long."""

from dataclasses import replace

from pixellib.series.run import Run
from pixellib.training import Settings

SHAPES = {"mnist": {"channels": 1, "size": [28, 28]}, "cifar10": {"channels": 3, "size": [32, 32]}}
# what the quick profile trains on: images of the same size
EMBEDDED = {"mnist": "mnist", "cifar10": "offline_crops", "austen": "austen"}
FAST = {"learning_rate": 8e-3, "muon_lr": 0.02}  # kernels moved by Muon
SLOW = {"learning_rate": 4e-3, "muon_lr": 0.005}  # for long trainings: with 0.02 the loss rises again from step 1,000
COMPARED = {"num_validation": 500, "num_test": 2000}  # many trainings, compared on the same images


def quick(settings: Settings, **changes) -> Settings:
    """For the quick profile: less than a minute on two cores."""
    short = {"steps": 60, "batch_size": 16, "warmup_steps": 5, "ema_decay": 0.9, "validate_every": 15}
    return replace(settings, **short | changes)


def paper(settings: Settings, steps: int = 200_000) -> Settings:
    """For the paper profile: as long as on a GPU."""
    return replace(settings, steps=steps, batch_size=128, ema_decay=0.9999, validate_every=steps // 40)


def chain(run: Run, *steps: int) -> list[Run]:
    """A long training in parts, of which `run` is the last: trainings of so many steps at a constant rate, NAME-part1,
    NAME-part2, ..., each of which begins with the weights of the one before, and is looked at on validation images;
    then `run`, which begins with theirs. In the other profiles all are trainings of their own.
    """
    plan, parts = run.plan(), []
    for number, length in enumerate(steps, 1):
        settings = replace(plan.settings, steps=length, schedule="constant", decay=1.0, validate_every=length // 3)
        parts.append(replace(
            run, name=f"{run.name}-part{number}", title=f"{run.title}, part {number} of a long training",
            plans={**run.plans, "reference": replace(plan, settings=settings, start=parts[-1] if parts else None)},
            evaluate_on=("validation",), anchor=None, ships=False,
        ))  # fmt: skip
    return [*parts, replace(run, plans={**run.plans, "reference": replace(plan, start=parts[-1])})]
