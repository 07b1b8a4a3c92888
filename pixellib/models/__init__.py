"""One file per family of models; every model is an `ImageModel`."""

from pixellib.models.autoregressive import AutoregressiveModel
from pixellib.models.gated_pixelcnn import GatedPixelCNN
from pixellib.models.interface import ImageModel
from pixellib.models.iwae import IWAE
from pixellib.models.pixelcnn import PixelCNN
from pixellib.models.pixelcnnpp import PixelCNNpp
from pixellib.models.vae import VAE
from pixellib.models.vqvae import VQVAE

__all__ = ["IWAE", "VAE", "VQVAE", "AutoregressiveModel", "GatedPixelCNN", "ImageModel", "PixelCNN", "PixelCNNpp"]
