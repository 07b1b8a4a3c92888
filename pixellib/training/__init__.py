"""Training: `fit`, its `Settings`, and what tells one training from another."""

from pixellib.training.loop import OutOfTime, Training, fit
from pixellib.training.settings import Settings
from pixellib.training.step import NonFiniteLoss, TrainState

__all__ = ["NonFiniteLoss", "OutOfTime", "Settings", "TrainState", "Training", "fit"]
