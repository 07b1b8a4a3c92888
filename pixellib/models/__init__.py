"""One file per family of models; every model is an `ImageModel`."""

from pixellib.models.autoregressive import AutoregressiveModel, GatedPixelCNN, PixelCNN, PixelCNNpp
from pixellib.models.base import ImageModel
from pixellib.models.latent import IWAE, VAE, VQVAE

__all__ = ["IWAE", "VAE", "VQVAE", "AutoregressiveModel", "GatedPixelCNN", "ImageModel", "PixelCNN", "PixelCNNpp"]
