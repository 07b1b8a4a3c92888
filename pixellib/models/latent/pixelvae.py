"""PixelVAE: a latent says what is in the image, and a PixelCNN draws its pixels.

Gulrajani, Kumar, Ahmed, Taiga, Visin, Vazquez and Courville, "PixelVAE: a latent variable model for natural images",
ICLR 2017.

Deviations from the paper: the PixelCNN is gated, with two stacks and no blind spot, and sees the decoder's features in
every layer, not beside its input; there is one latent, a vector or a map, not a hierarchy.
"""

import math
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from pixellib.data.transforms import scale
from pixellib.likelihoods import Likelihood
from pixellib.models.autoregressive import GatedPixelCNN
from pixellib.models.checks import check_counts, check_images, check_sampling, check_shape, refuse_condition
from pixellib.models.latent.base import count_active, draw_from
from pixellib.models.latent.layered import Draw, LayeredVAE, normal
from pixellib.models.latent.residual import residual


class PixelVAE(LayeredVAE):
    """p(x, z) = p(z) prod_i p(x_i | x_1 .. x_{i-1}, z): convolutions make a map of features of z, on which a gated
    PixelCNN is conditioned, location by location.

    channels, size: C and (H, W), H and W multiples of 4. num_latents: D, the dimension of z; 0 leaves z out: the
    features are then a learned map, the same for all images, and log_prob is exact, a control for what z is worth.
    spatial: whether z is a map of H / 4 x W / 4 such vectors, not one. num_layers, kernel_size, dilations, embedding:
    of the PixelCNN, whose num_layers decides how far a pixel sees without z. num_filters: features of its stacks and of
    the convolutions next to the pixels, twice as many further down. depth: residual convolutions at each size of
    encoder and decoder. num_samples, beta, free_bits, likelihood: see LayeredVAE.

    ValueError as LayeredVAE says, and for other numbers and sizes.

    >>> model = PixelVAE(1, (8, 8), num_latents=4, num_layers=2, num_filters=8, kernel_size=3)
    >>> x = 255 * torch.randint(2, (3, 1, 8, 8), dtype=torch.uint8)
    >>> model.log_weights(x, 5).shape, model.kl_per_layer(x).shape  # of one layer
    (torch.Size([5, 3]), torch.Size([1, 3]))
    >>> q = model.encode(x)
    >>> model.sample(3, z=q.mean).shape  # reconstructions, drawn pixel by pixel
    torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        channels: int = 1,
        size: Sequence[int] = (28, 28),
        num_latents: int = 20,
        spatial: bool = False,
        num_layers: int = 4,
        num_filters: int = 32,
        kernel_size: int = 5,
        dilations: Sequence[int] | None = None,
        embedding: int | None = None,
        depth: int = 1,
        num_samples: int = 1,
        beta: float = 1.0,
        free_bits: float = 0.0,
        likelihood: Likelihood | None = None,
    ):
        super().__init__(num_samples, beta, free_bits, likelihood)
        self.channels, self.size = channels, check_shape(channels, size, multiple_of=4)
        check_counts(num_filters=num_filters)
        check_counts(at_least=int(spatial), num_latents=num_latents)
        check_counts(at_least=0, depth=depth)
        n, twice = num_filters, 2 * num_filters
        small = (twice, *(length // 4 for length in self.size))
        self.latent_shape = (num_latents, *small[1:]) if spatial else (num_latents,)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element")  # without latents there is nothing to draw
            self.encoder = nn.Sequential(
                nn.Conv2d(channels, n, 4, stride=2, padding=1), *residual(n, depth), nn.SiLU(),
                nn.Conv2d(n, twice, 4, stride=2, padding=1), *residual(twice, depth), nn.SiLU(),
                *([nn.Conv2d(twice, 2 * num_latents, 1)] if spatial
                  else [nn.Flatten(), nn.Linear(math.prod(small), 2 * num_latents)]),
            )  # fmt: skip
            self.decoder = nn.Sequential(
                *([nn.Conv2d(num_latents, twice, 1)] if spatial
                  else [nn.Linear(num_latents, math.prod(small)), nn.Unflatten(1, small)]),
                nn.SiLU(), *residual(twice, depth),
                nn.ConvTranspose2d(twice, twice, 4, stride=2, padding=1), nn.SiLU(), *residual(twice, depth),
                nn.ConvTranspose2d(twice, n, 4, stride=2, padding=1), nn.SiLU(),
                nn.Conv2d(n, n, 3, padding=1), nn.SiLU(),
            )  # fmt: skip
        self.pixelcnn = GatedPixelCNN(
            channels, self.size, num_layers, n, kernel_size, dilations, self.likelihood, condition_channels=n,
            embedding=embedding,
        )  # fmt: skip

    @property
    def kind(self) -> str:
        return self.pixelcnn.kind if self.latent_shape == (0,) else super().kind

    def encode(self, x: Tensor) -> Normal:
        """q(z | x), of shape (B, D), or (B, D, H / 4, W / 4) if z is spatial, for x uint8 (B, C, H, W).

        ValueError for images of another shape.
        """
        check_images(x, self.channels, self.size)
        y = scale(x, self.likelihood.num_levels)
        return normal(self.encoder(y.to(next(self.encoder.parameters()).dtype)))

    def decode(self, z: Tensor) -> Tensor:
        """The features on which the PixelCNN is conditioned, float (B, F, H, W). ValueError for z of another shape."""
        if z.shape[1:] != self.latent_shape:
            raise ValueError(f"expected latents (B, {', '.join(map(str, self.latent_shape))}), got {tuple(z.shape)}")
        return self.decoder(z.to(next(self.decoder.parameters()).dtype))

    def draws_from_q(
        self, x: Tensor, num_samples: int, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, list[Draw]]]:
        q = self.encode(x)
        prior = Normal(torch.zeros_like(q.mean), torch.ones_like(q.stddev), validate_args=False)
        for _ in range(num_samples):
            z = draw_from(q, generator)
            yield self.pixelcnn.log_prob(x, self.decode(z)), [Draw(z, prior, q)]

    @torch.no_grad()
    def active_units(self, x: Tensor) -> int:
        """How many dimensions of z tell images apart: the mean of q(z | x) has a variance over the images above 0.01
        (Burda et al. 2016, section 5).
        """
        return count_active(self.encode(x).mean)

    def initialise(self, images: Tensor) -> None:
        self.pixelcnn.initialise(images)

    def kernels(self) -> list[nn.Parameter]:
        """Those of the PixelCNN, without its output layer, and those of encoder and decoder."""
        own = set(map(id, self.pixelcnn.parameters()))
        return self.pixelcnn.kernels() + [p for p in super().kernels() if id(p) not in own]

    @torch.no_grad()
    def sample(
        self,
        num_samples: int,
        *,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
        z: Tensor | None = None,
        **options,
    ) -> Tensor:
        """Images drawn from the model, uint8 (num_samples, C, H, W), on its device: z first, then pixel by pixel.

        z: drawn from the prior unless given. options: of `GatedPixelCNN.sample`. ValueError for a number below 1, for
        more than 16 GiB of images, for a condition, and for z of another shape.
        """
        refuse_condition(self, condition)
        device = check_sampling(self, num_samples, (self.channels, *self.size))
        if z is None:
            z = torch.randn((num_samples, *self.latent_shape), generator=generator, device=device)
        return self.pixelcnn.sample(num_samples, condition=self.decode(z), generator=generator, **options)
