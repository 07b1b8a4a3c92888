"""Autoencoders with discrete codes: a small image of symbols for a large one of pixels.

Van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", NIPS 2017, section 3.

Deviations from the paper: the networks are smaller and ours; codes begin as features of training images; equation 3 is
summed over an image, with the log-likelihood of any observation model in place of a squared error; the prior over codes
is uniform.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixellib.data.transforms import scale
from pixellib.likelihoods import Likelihood, LogisticMixture
from pixellib.models.base import ImageModel
from pixellib.models.checks import (
    check_counts,
    check_images,
    check_likelihood,
    check_sampling,
    check_shape,
    refuse_condition,
)
from pixellib.models.latent.base import bound_kind


class VQVAE(ImageModel):
    """Each 4 x 4 block of an image becomes the nearest of num_codes vectors of code_size numbers.

    With codes drawn uniformly, as here, log p(x | z) + log p(z) at the one z that the encoder chooses is a lower bound
    of log p(x). A better prior over codes is another model's task: `encode` gives its images.

    channels, size: C and (H, W), H and W multiples of 4. num_codes: 2 to 256, so that codes are images too. code_size:
    D, the dimension of a code's vector. num_filters: features next to the pixels, twice as many further down.
    commitment: how much the encoder is drawn to the codes (beta of equation 3), finite and not negative. likelihood:
    LogisticMixture(5) unless given. ValueError for other numbers and sizes.

    >>> model = VQVAE(1, (8, 8), num_codes=16, code_size=4, num_filters=8)
    >>> x = torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8)
    >>> codes = model.encode(x)
    >>> codes.shape, model.likelihood(model.decode(codes)).mean.shape
    (torch.Size([2, 1, 2, 2]), torch.Size([2, 1, 8, 8]))
    """

    def __init__(
        self,
        channels: int = 1,
        size: Sequence[int] = (28, 28),
        num_codes: int = 256,
        code_size: int = 16,
        num_filters: int = 32,
        commitment: float = 0.25,
        likelihood: Likelihood | None = None,
    ):
        super().__init__()
        self.channels, self.size = channels, check_shape(channels, size, multiple_of=4)
        check_counts(num_codes=num_codes, code_size=code_size, num_filters=num_filters)
        if not 2 <= num_codes <= 256:
            raise ValueError(f"num_codes must be in 2..256, got {num_codes}")
        if not 0 <= commitment < math.inf:
            raise ValueError(f"commitment must be finite and not negative, got {commitment}")
        self.commitment = commitment
        self.likelihood = check_likelihood(LogisticMixture(5) if likelihood is None else likelihood)
        n, twice = num_filters, 2 * num_filters
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, n, 4, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(n, twice, 4, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(twice, twice, 3, padding=1), nn.SiLU(),
            nn.Conv2d(twice, code_size, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(code_size, twice, 3, padding=1), nn.SiLU(),
            nn.ConvTranspose2d(twice, twice, 4, stride=2, padding=1), nn.SiLU(),
            nn.ConvTranspose2d(twice, n, 4, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(n, n, 3, padding=1), nn.SiLU(),
            nn.Conv2d(n, self.likelihood.num_params(channels), 1),
        )  # fmt: skip
        self.codebook = nn.Embedding(num_codes, code_size)

    @property
    def kind(self) -> str:
        return bound_kind(self.likelihood)

    def encode(self, x: Tensor) -> Tensor:
        """The codes of images, uint8 (B, 1, H / 4, W / 4), for x uint8 (B, C, H, W)."""
        return self._nearest(self._features(x)).unsqueeze(1).to(torch.uint8)

    def decode(self, codes: Tensor) -> Tensor:
        """The likelihood's parameters, float (B, P, H, W), for codes uint8 (B, 1, H / 4, W / 4)."""
        return self.decoder(self._vectors(codes[:, 0].long()))

    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """log p(x | z) + log p(z), float (B,), in nats; z: the encoder's codes."""
        refuse_condition(self, condition)
        codes = self.encode(x)
        return self.likelihood(self.decode(codes)).log_prob(x) - codes[0].numel() * math.log(self.num_codes)

    def loss(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Equation 3 of the paper, summed over an image: -log p(x | z), and the distances of features and codes.

        The gradient skips the choice of a code: what the decoder asks of the codes is asked of the features.
        """
        refuse_condition(self, condition)
        features = self._features(x)
        vectors = self._vectors(self._nearest(features))
        passed = features + (vectors - features).detach()
        log_p = self.likelihood(self.decoder(passed)).log_prob(x)
        to_features = F.mse_loss(vectors, features.detach(), reduction="sum")
        to_codes = F.mse_loss(features, vectors.detach(), reduction="sum")
        return (to_features + self.commitment * to_codes - log_p.sum()) / len(x)

    @torch.no_grad()
    def sample(
        self, num_samples: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Images of codes drawn uniformly, uint8 (num_samples, C, H, W), on the model's device.

        ValueError for a number below 1, for more than 16 GiB of images, and for a condition.
        """
        refuse_condition(self, condition)
        device = check_sampling(self, num_samples, (self.channels, *self.size))
        codes_shape = (num_samples, 1, *(n // 4 for n in self.size))
        codes = torch.randint(self.num_codes, codes_shape, generator=generator, device=device)
        return self.likelihood(self.decode(codes)).sample(generator=generator)

    @property
    def num_codes(self) -> int:
        return self.codebook.num_embeddings

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Codes begin as features of (some) images, so that none is far from all of them."""
        features = self._features(images[:256].to(self.codebook.weight.device)).movedim(1, -1).flatten(0, -2)
        chosen = torch.randperm(len(features))[torch.arange(self.num_codes) % len(features)]
        self.codebook.weight.copy_(features[chosen])

    def _features(self, x: Tensor) -> Tensor:
        check_images(x, self.channels)
        return self.encoder(scale(x, self.likelihood.num_levels).to(self.codebook.weight.dtype))

    def _nearest(self, features: Tensor) -> Tensor:
        """The code next to each feature vector of (B, D, h, w): int64 (B, h, w)."""
        codes = self.codebook.weight
        with torch.autocast(features.device.type, enabled=False):  # in bfloat16 another code may seem the nearest
            products = torch.einsum("bdhw,kd->bkhw", features.to(codes.dtype), codes)
        return (codes.square().sum(1)[:, None, None] - 2 * products).argmin(1)

    def _vectors(self, codes: Tensor) -> Tensor:
        return self.codebook(codes).movedim(-1, 1)
