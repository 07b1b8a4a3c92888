"""One free probability per level: the softmax of PixelRNN and PixelCNN (van den Oord et al. 2016, section 3)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from pixellib.likelihoods.base import at_least_float32, check_images, check_params, levels_dtype


@dataclass(frozen=True)
class Categorical:
    """Independent sub-pixels with any distribution over L levels. Parameters: for each channel its L logits."""

    kind: ClassVar = "mass"
    coupled_channels: ClassVar = False
    num_levels: int = 256

    def __post_init__(self):
        if self.num_levels < 2:
            raise ValueError(f"num_levels must be at least 2, got {self.num_levels}")

    def num_params(self, channels: int) -> int:
        return channels * self.num_levels

    def channel_index(self, channels: int) -> torch.LongTensor:
        return torch.arange(channels).repeat_interleave(self.num_levels)

    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Nothing: the layer's own initialisation will do."""

    def __call__(self, params: Tensor) -> "CategoricalImages":
        channels = check_params("Categorical", params, self.num_levels)
        return CategoricalImages(at_least_float32(params).unflatten(-3, (channels, self.num_levels)))


class CategoricalImages(Distribution):
    """logits: float (..., C, L, H, W). A value broadcasts against the batch shape."""

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, logits: Tensor):
        self.logits = logits
        channels, self.num_levels, *size = logits.shape[-4:]
        super().__init__(logits.shape[:-4], torch.Size([channels, *size]), validate_args=False)

    @property
    def support(self):
        return constraints.independent(constraints.integer_interval(0, self.num_levels - 1), 3)

    @property
    def mean(self) -> Tensor:
        """float (..., C, H, W), in units of levels."""
        levels = torch.arange(self.num_levels, device=self.logits.device, dtype=self.logits.dtype)
        return (self.logits.softmax(-3) * levels.view(-1, 1, 1)).sum(-3)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, float32 (or float64) of the batch shape; x integers 0..L-1, uint8 (B, C, H, W)."""
        return self.log_prob_per_pixel(x).sum((-2, -1))

    def log_prob_per_pixel(self, x: Tensor) -> Tensor:
        """log p of each pixel in nats, summed over its channels: float (..., H, W)."""
        batch = check_images("Categorical", x, self.batch_shape, self.event_shape, self.num_levels)
        logits = self.logits.expand(*batch, *self.logits.shape[-4:]).flatten(0, -4)  # (N C, L, H, W)
        x = x.expand(*batch, *x.shape[-3:]).reshape(-1, *x.shape[-2:])
        log_p = -F.cross_entropy(logits, x.long(), reduction="none")
        return log_p.view(*batch, *self.event_shape).sum(-3)

    def conditional_log_pmf(self, x: Tensor | None = None) -> Tensor:
        """Every level's log-probability in nats: float (..., L, C, H, W). x is not needed: no channel waits."""
        return self.logits.log_softmax(-3).movedim(-4, -3)

    def sample(self, sample_shape=(), generator: torch.Generator | None = None) -> Tensor:
        """uint8 (*sample_shape, ..., C, H, W); int64 for more than 256 levels."""
        p = self.logits.softmax(-3).movedim(-3, -1)
        num = torch.Size(sample_shape).numel()
        drawn = torch.multinomial(p.reshape(-1, self.num_levels), num, replacement=True, generator=generator)
        drawn = drawn.T.reshape(*sample_shape, *p.shape[:-1])
        return drawn.to(levels_dtype(self.num_levels))
