"""Models with latent variables: their log-likelihood is known by a lower bound."""

from pixellib.models.latent.base import LatentModel
from pixellib.models.latent.iwae import IWAE
from pixellib.models.latent.vae import VAE
from pixellib.models.latent.vqvae import VQVAE

__all__ = ["IWAE", "VAE", "VQVAE", "LatentModel"]
