"""Models of images, one file per family; every model is an `ImageModel`."""

from pixellib.models.autoregressive import (
    AutoregressiveModel,
    GatedPixelCNN,
    PixelCNN,
    PixelCNNpp,
    TwoStreamModel,
    assert_causal,
    openai_pixelcnnpp,
)
from pixellib.models.base import ImageModel
from pixellib.models.flows import Flow, assert_invertible
from pixellib.models.latent import IWAE, VAE, VQVAE, LadderVAE, LatentModel, PixelVAE

__all__ = [
    "IWAE",
    "VAE",
    "VQVAE",
    "AutoregressiveModel",
    "Flow",
    "GatedPixelCNN",
    "ImageModel",
    "LadderVAE",
    "LatentModel",
    "PixelCNN",
    "PixelCNNpp",
    "PixelVAE",
    "TwoStreamModel",
    "assert_causal",
    "assert_invertible",
    "openai_pixelcnnpp",
]
