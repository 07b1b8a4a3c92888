"""One file per family of models; every model is an `ImageModel`."""

from pixellib.models.interface import ImageModel
from pixellib.models.iwae import IWAE
from pixellib.models.vae import VAE

__all__ = ["IWAE", "VAE", "ImageModel"]
