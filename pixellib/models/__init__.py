"""One file per family of models; every model is an `ImageModel`."""

from pixellib.models.interface import ImageModel
from pixellib.models.iwae import IWAE

__all__ = ["IWAE", "ImageModel"]
