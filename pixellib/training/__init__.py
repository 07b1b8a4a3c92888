"""Training: `fit`, its `Settings`, and what tells one training from another."""

from pixellib.training.loop import Training, fit
from pixellib.training.settings import Settings
from pixellib.training.step import NonFiniteLoss, TrainState

__all__ = ["NonFiniteLoss", "Settings", "TrainState", "Training", "fit"]
