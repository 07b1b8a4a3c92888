"""Models with latent variables: their log-likelihood is known by a lower bound."""

from pixellib.models.latent.base import LatentModel
from pixellib.models.latent.iwae import IWAE
from pixellib.models.latent.ladder_vae import LadderVAE
from pixellib.models.latent.pixelvae import PixelVAE
from pixellib.models.latent.vae import VAE
from pixellib.models.latent.vqvae import VQVAE

__all__ = ["IWAE", "VAE", "VQVAE", "LadderVAE", "LatentModel", "PixelVAE"]
