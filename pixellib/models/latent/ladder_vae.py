"""A ladder of stochastic layers: maps of latents at several sizes, each given those above it.

Sønderby, Raiko, Maaløe, Sønderby and Winther, "Ladder variational autoencoders", NIPS 2016; Child, "Very deep VAEs
generalize autoregressive models and can outperform them on images", ICLR 2021.

Deviations from the papers: q's mean and log standard deviation are the prior's plus what a network finds in the
features of both directions, where the first paper weights two Gaussians by their precisions and in the second
the network gives them outright; the networks are small, and the latents as large as half the image at most.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixellib.data.transforms import scale
from pixellib.likelihoods import Likelihood
from pixellib.models.checks import check_counts, check_images, check_sampling, check_shape, refuse_condition
from pixellib.models.latent.base import draw_from
from pixellib.models.latent.layered import Draw, LayeredVAE, normal
from pixellib.models.latent.residual import residual


class LadderVAE(LayeredVAE):
    """p(x, z) = p(x | z) p(z_1) p(z_2 | z_1) p(z_3 | z_1, z_2) ..., counted from the top, z_1 having the fewest pixels.

    Bottom up, convolutions find features of the image at each size. Top down, one path serves the prior and q: its
    features say what each z is expected to be, p(z_l | z above), and together with the image's features what it is,
    q(z_l | z above, x). Then z_l, drawn from either, is added to the path. The likelihood's parameters are read at its
    end.

    num_layers: of stochastic layers at a half, a quarter, an eighth, ... of the size, from the pixels up. num_latents:
    channels of each z. num_filters: features of every convolution. num_blocks: residual convolutions at each size
    bottom up, and after each z top down. num_samples, beta, free_bits, likelihood: see LayeredVAE.

    ValueError as LayeredVAE says, for other numbers below 1, and for a size that cannot be halved as often as
    num_layers is long.

    >>> from pixellib.likelihoods import LogisticMixture
    >>> model = LadderVAE(3, (8, 8), num_layers=(2, 1), num_latents=2, num_filters=8, likelihood=LogisticMixture(2))
    >>> x = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8)
    >>> [tuple(z.shape) for z in model.encode(x)]
    [(5, 2, 2, 2), (5, 2, 4, 4), (5, 2, 4, 4)]
    >>> model.kl_per_layer(x).shape, model.log_weights(x, 10).shape
    (torch.Size([3, 5]), torch.Size([10, 5]))
    >>> model.likelihood(model.decode(model.encode(x))).mean.shape  # a reconstruction
    torch.Size([5, 3, 8, 8])
    """

    def __init__(
        self,
        channels: int = 3,
        size: Sequence[int] = (32, 32),
        num_layers: Sequence[int] = (2, 2, 1),
        num_latents: int = 8,
        num_filters: int = 64,
        num_blocks: int = 1,
        num_samples: int = 1,
        beta: float = 1.0,
        free_bits: float = 0.0,
        likelihood: Likelihood | None = None,
    ):
        super().__init__(num_samples, beta, free_bits, likelihood)
        num_layers = tuple(num_layers)
        check_counts(num_latents=num_latents, num_filters=num_filters, num_blocks=num_blocks)
        check_counts(**{"the length of num_layers": len(num_layers)})
        check_counts(**{f"num_layers[{i}]": count for i, count in enumerate(num_layers)})
        self.channels, self.size = channels, check_shape(channels, size, multiple_of=2 ** len(num_layers))
        n = num_filters
        self.bottom_up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n if i else channels, n, 4, stride=2, padding=1), *residual(n, num_blocks))
            for i in range(len(num_layers))
        )
        self.layers = nn.ModuleList(
            StochasticLayer(scale_index, i == 0 and scale_index + 1 < len(num_layers), n, num_latents, num_blocks)
            for scale_index in reversed(range(len(num_layers)))
            for i in range(num_layers[scale_index])
        )
        self.top = nn.Parameter(torch.zeros(n, *(length >> len(num_layers) for length in self.size)))
        self.output = nn.Sequential(
            nn.SiLU(), nn.ConvTranspose2d(n, n, 4, stride=2, padding=1),
            nn.SiLU(), nn.Conv2d(n, n, 3, padding=1),
            nn.SiLU(), nn.Conv2d(n, self.likelihood.num_params(channels), 1),
        )  # fmt: skip
        self.to(memory_format=torch.channels_last)

    def features(self, x: Tensor) -> list[Tensor]:
        """Bottom up: what is found at a half, a quarter, ... of the size, each (B, F, h, w), for x uint8 (B, C, H, W).

        ValueError for images of another shape.
        """
        check_images(x, self.channels, self.size)
        h, found = scale(x, self.likelihood.num_levels).to(self.top.dtype), []
        for blocks in self.bottom_up:
            h = blocks(h)
            found.append(h)
        return found

    def draw(
        self,
        num_images: int,
        features: list[Tensor] | None = None,
        given: Sequence[Tensor] = (),
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, list[Draw]]:
        """Top down: the likelihood's parameters, float (num_images, P, H, W), and each layer's draw, from the top.

        z is drawn from q where there are features of images, otherwise from the prior. given: z of the first layers,
        which are then not drawn. ValueError for more of them than layers, or for one of another shape.
        """
        if len(given) > len(self.layers):
            raise ValueError(f"got latents of {len(given)} layers; there are {len(self.layers)}")
        h, draws = self.top.expand(num_images, -1, -1, -1), []
        for i, layer in enumerate(self.layers):
            below = None if features is None else features[layer.scale_index]
            h, draw = layer(h, below, given[i] if i < len(given) else None, generator)
            draws.append(draw)
        return self.output(h), draws

    def draws_from_q(
        self, x: Tensor, num_samples: int, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, list[Draw]]]:
        features = self.features(x)
        for _ in range(num_samples):
            params, draws = self.draw(len(x), features, generator=generator)
            yield self.likelihood(params).log_prob(x), draws

    @torch.no_grad()
    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        """z of each layer, drawn from q(z | x), from the top: each float (B, D, h, w)."""
        return [draw.z for draw in self.draw(len(x), self.features(x), generator=generator)[1]]

    @torch.no_grad()
    def decode(self, latents: Sequence[Tensor], generator: torch.Generator | None = None) -> Tensor:
        """The likelihood's parameters, float (B, P, H, W), for z of at least the first layer, as `encode` returns them;
        the others are drawn from the prior.
        """
        if not latents:
            raise ValueError("expected z of at least one layer")
        return self.draw(len(latents[0]), given=latents, generator=generator)[0]

    @torch.no_grad()
    def sample(
        self, num_samples: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Images drawn from the model, uint8 (num_samples, C, H, W), on its device.

        ValueError for a number below 1, for more than 16 GiB of images, and for a condition.
        """
        refuse_condition(self, condition)
        check_sampling(self, num_samples, (self.channels, *self.size))
        params, _ = self.draw(num_samples, generator=generator)
        return self.likelihood(params).sample(generator=generator)


class StochasticLayer(nn.Module):
    """One z of the ladder, at 1 / 2^(scale_index + 1) of the image's size.

    doubles: whether the path comes from the scale above, at half this size.

    The last convolutions of prior and q begin at zero, so that an untrained q is the prior, a standard Gaussian.
    """

    def __init__(self, scale_index: int, doubles: bool, num_filters: int, num_latents: int, num_blocks: int):
        super().__init__()
        n, self.scale_index, self.doubles, self.num_latents = num_filters, scale_index, doubles, num_latents
        self.prior = nn.Sequential(
            nn.SiLU(), nn.Conv2d(n, n, 3, padding=1), nn.SiLU(), nn.Conv2d(n, n + 2 * num_latents, 1)
        )
        self.q = nn.Sequential(
            nn.SiLU(), nn.Conv2d(2 * n, n, 3, padding=1), nn.SiLU(), nn.Conv2d(n, 2 * num_latents, 1)
        )
        self.enter = nn.Conv2d(num_latents, n, 1)
        self.blocks = nn.Sequential(*residual(n, num_blocks))
        for last in (self.prior[-1], self.q[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(
        self, h: Tensor, below: Tensor | None, z: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Draw]:
        """The path's features after z was added, (B, F, h, w), and the draw.

        h: of the path before. below: the image's features at this size, or None to draw from the prior. z: if it is not
        to be drawn.
        """
        if self.doubles:
            h = F.interpolate(h, scale_factor=2)
        expected, found = self.prior(h).split([2 * self.num_latents, h.shape[1]], 1)
        p = q = normal(expected)
        if below is not None:
            q = normal(expected + self.q(torch.cat([h, below], 1)))
        if z is None:
            z = draw_from(q, generator)
        elif z.shape != p.mean.shape:
            raise ValueError(f"expected z {tuple(p.mean.shape)}, got {tuple(z.shape)}")
        h = self.blocks(h + found + self.enter(z.to(h.dtype)))
        return h, Draw(z, p, None if below is None else q)
