"""Flow: a density of dequantised images made of invertible layers, and by it a bound of their log-likelihood."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixellib.models.base import WeightedModel
from pixellib.models.checks import (
    check_counts,
    check_images,
    check_range,
    check_sampling,
    check_shape,
    refuse_condition,
)
from pixellib.models.flows.dequantisation import UniformDequantisation, VariationalDequantisation, logit_transform
from pixellib.models.flows.layers import AffineCoupling, GatedConvNet, Squeeze, channel_mask, checkerboard_mask


class Scale(nn.Module):
    """Coupling layers at one resolution. Before them the image may be squeezed; after them half of its channels may
    leave.

    shape: (C, H, W) of what enters.
    """

    def __init__(self, shape: tuple[int, int, int], num_couplings: int, num_filters: int, squeeze: bool, split: bool):
        super().__init__()
        channels, height, width = shape
        if squeeze:
            channels, height, width = 4 * channels, height // 2, width // 2
        self.squeeze = Squeeze() if squeeze else None
        self.split = split
        self.inside = channels, height, width
        self.couplings = nn.ModuleList()
        for i in range(num_couplings):
            invert = i % 2 == 1
            mask = channel_mask(channels, invert) if squeeze else checkerboard_mask(height, width, invert)
            self.couplings.append(AffineCoupling(GatedConvNet(channels, 2 * channels, num_filters), mask, channels))

    @property
    def leaving(self) -> int:
        """How many channels leave."""
        return self.inside[0] // 2 if self.split else 0

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What stays, (B, C', H', W'), what leaves, (B, C'', H', W'), and the log-determinant, (B,)."""
        if self.squeeze is not None:
            z, _ = self.squeeze(z)
        total = z.new_zeros(len(z))
        for coupling in self.couplings:
            z, log_det = coupling(z)
            total = total + log_det
        leaves, stays = z.split([self.leaving, z.shape[1] - self.leaving], 1)
        return stays, leaves, total

    def inverse(self, stays: Tensor, leaves: Tensor) -> Tensor:
        z = torch.cat([leaves, stays], 1)
        for coupling in reversed(self.couplings):
            z = coupling.inverse(z)
        return z if self.squeeze is None else self.squeeze.inverse(z)


class Flow(WeightedModel):
    """Dequantised pixels, affine coupling layers, a standard Gaussian.

    num_couplings, num_filters: of the coupling layers at each scale and of their networks. The first scale is the
    image's own, with checkerboard masks; before every other one 2 x 2 pixels become channels, with channel masks, and
    before every one but the first two half of the channels leave for the Gaussian. num_dequantisation_couplings: of the
    flow that draws the dequantisation noise; with 0 it is uniform. num_samples: M of the bound that is trained and that
    `log_prob` estimates. num_levels: of the images, 2 to 256.

    A latent is float (B, D) with D = C H W, in the order in which its parts leave.

    ValueError for numbers out of range, for a size that cannot be halved once for every scale but the first, and for
    another number of num_filters than of num_couplings.

    >>> flow = Flow(1, (4, 4), num_couplings=(2, 2), num_filters=(8, 8))
    >>> x = torch.randint(256, (3, 1, 4, 4), dtype=torch.uint8)
    >>> flow.log_prob(x).shape, flow.log_weights(x, 5).shape, flow.encode(x).shape
    (torch.Size([3]), torch.Size([5, 3]), torch.Size([3, 16]))
    >>> torch.equal(flow.decode(flow.encode(x)), x)
    True
    """

    kind = "lower bound"

    def __init__(
        self,
        channels: int = 1,
        size: Sequence[int] = (28, 28),
        num_couplings: Sequence[int] = (8,),
        num_filters: Sequence[int] = (32,),
        num_dequantisation_couplings: int = 0,
        num_dequantisation_filters: int = 16,
        num_samples: int = 1,
        num_levels: int = 256,
    ):
        super().__init__()
        check_counts(num_samples=num_samples, num_dequantisation_filters=num_dequantisation_filters)
        check_counts(at_least=2, num_levels=num_levels)
        check_counts(at_least=0, num_dequantisation_couplings=num_dequantisation_couplings)
        check_counts(**{f"num_couplings[{i}]": count for i, count in enumerate(num_couplings)})
        check_counts(**{f"num_filters[{i}]": count for i, count in enumerate(num_filters)})
        if not len(num_couplings) == len(num_filters) >= 1:
            raise ValueError(
                f"num_couplings and num_filters must name the same scales, got {num_couplings} and {num_filters}"
            )
        if not 2 <= num_levels <= 256:
            raise ValueError(f"num_levels must be in 2..256, got {num_levels}")
        self.channels, self.size = channels, check_shape(channels, size, 2 ** (len(num_couplings) - 1))
        self.num_samples, self.num_levels = num_samples, num_levels
        if num_dequantisation_couplings:
            self.dequantisation = VariationalDequantisation(
                channels, self.size, num_dequantisation_couplings, num_dequantisation_filters
            )
        else:
            self.dequantisation = UniformDequantisation()
        self.scales = nn.ModuleList()
        shape = channels, *self.size
        for i, (count, width) in enumerate(zip(num_couplings, num_filters, strict=True)):
            scale = Scale(shape, count, width, squeeze=i > 0, split=0 < i < len(num_couplings) - 1)
            self.scales.append(scale)
            shape = scale.inside[0] - scale.leaving, *scale.inside[1:]

    def log_weights(self, x: Tensor, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """log p(x + u) - log q(u | x) for M draws of the dequantisation noise u, float32 (M, B), in nats.

        Their log-mean-exp over M is a lower bound of log p(x), and tends to it as M grows. x: integers (B, C, H, W).
        num_samples: M. ValueError for images of another shape or with levels out of range, or M below 1.
        """
        check_counts(num_samples=num_samples)
        self._check(x)
        return torch.stack([self._log_weight(x, generator) for _ in range(num_samples)])

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The latent of x with one draw of the noise: float (B, D) for integers (B, C, H, W)."""
        self._check(x)
        return self._encode(x, generator)[0]

    def decode(self, z: Tensor) -> Tensor:
        """The image of a latent: uint8 (B, C, H, W) for float (B, D). Which noise there was is forgotten."""
        levels = logit_transform().inv(self.from_latent(z)) * self.num_levels
        return levels.floor().clamp(0, self.num_levels - 1).to(torch.uint8)

    def to_latent(self, reals: Tensor) -> tuple[Tensor, Tensor]:
        """From logits of dequantised pixels, float (B, C, H, W), to latents, (B, D), and the log-determinant, (B,)."""
        parts, total = [], 0
        for scale in self.scales:
            reals, leaves, log_det = scale(reals)
            parts.append(leaves.flatten(1))
            total = total + log_det
        return torch.cat([*parts, reals.flatten(1)], 1), total

    def from_latent(self, z: Tensor) -> Tensor:
        """The inverse of `to_latent`: float (B, D) -> (B, C, H, W)."""
        channels, height, width = self.scales[-1].inside
        counts = [scale.leaving * math.prod(scale.inside[1:]) for scale in self.scales]
        *parts, reals = z.split([*counts, channels * height * width], 1)
        reals = reals.unflatten(1, self.scales[-1].inside)
        for scale, leaves in zip(reversed(self.scales), reversed(parts), strict=True):
            reals = scale.inverse(reals, leaves.unflatten(1, (scale.leaving, *scale.inside[1:])))
        return reals

    @torch.no_grad()
    def sample(
        self, num_samples: int, *, condition: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Images drawn from the model, uint8 (num_samples, C, H, W), on its device.

        ValueError for a number below 1, for more than 16 GiB of images, and for a condition.
        """
        refuse_condition(self, condition)
        device = check_sampling(self, num_samples, (self.channels, *self.size))
        size = num_samples, self.channels * math.prod(self.size)
        return self.decode(torch.randn(size, generator=generator, device=device))

    @torch.no_grad()
    def interpolate(
        self, first: Tensor, last: Tensor, num_steps: int = 8, generator: torch.Generator | None = None
    ) -> Tensor:
        """Images of the latents on the straight line between those of two: uint8 (num_steps, B, C, H, W).

        first, last: integers (B, C, H, W); the first and the last step are these themselves, but for rounding.
        ValueError for fewer than 2 steps.
        """
        check_counts(at_least=2, num_steps=num_steps)
        start, end = self.encode(first, generator), self.encode(last, generator)
        shares = torch.linspace(0, 1, num_steps, device=start.device)
        return torch.stack([self.decode(torch.lerp(start, end, share)) for share in shares])

    def _log_weight(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        z, log_det = self._encode(x, generator)
        return log_det - 0.5 * (z.square() + math.log(2 * math.pi)).sum(1)

    def _encode(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The latent, (B, D), and what its log-density must be raised by to estimate log p(x), (B,)."""
        u, log_q = self.dequantisation(x, self.num_levels, generator)
        shares, transform = (x + u) / self.num_levels, logit_transform()
        reals = transform(shares)
        z, log_det = self.to_latent(reals)
        log_det = log_det + transform.log_abs_det_jacobian(shares, reals).sum((1, 2, 3))
        return z, log_det - math.prod(x.shape[1:]) * math.log(self.num_levels) - log_q

    def _check(self, x: Tensor) -> None:
        check_images(x, self.channels, self.size)
        if x.numel():
            check_range("levels", x, self.num_levels)
