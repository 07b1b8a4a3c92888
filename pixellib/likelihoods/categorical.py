"""One free probability per level: the softmax of PixelRNN and PixelCNN (van den Oord et al. 2016, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from pixellib.likelihoods.base import (
    ImageDistribution,
    Kind,
    at_least_float32,
    check_int,
    check_params,
    entropy_of,
    levels_dtype,
    real_tensors,
)


@dataclass(frozen=True)
class Categorical:
    """Independent sub-pixels with any distribution over L levels.

    Parameters: for each channel its L logits. num_levels: L, 2 or more.

    >>> params = torch.zeros(2, 3 * 256, 32, 32)
    >>> images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    >>> Categorical()(params).log_prob_per_pixel(images)[0, 0, 0]  # three times log 1/256
    tensor(-16.6355)
    """

    kind: ClassVar[Kind] = "mass"
    coupled_channels: ClassVar[bool] = False
    num_levels: int = 256

    def __post_init__(self):
        check_int("num_levels", self.num_levels, 2)

    def num_params(self, channels: int) -> int:
        check_int("channels", channels, 1)
        return channels * self.num_levels

    def channel_index(self, channels: int) -> torch.LongTensor:
        check_int("channels", channels, 1)
        return torch.arange(channels).repeat_interleave(self.num_levels)

    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Nothing: the layer's own initialisation will do."""

    def __call__(self, params: Tensor) -> "CategoricalImages":
        channels = check_params("Categorical", params, self.num_levels)
        logits = at_least_float32(params).unflatten(-3, (channels, self.num_levels))
        return CategoricalImages(logits, validate_args=False)._values_checked()


class CategoricalImages(ImageDistribution):
    """Images with independent sub-pixels, each with L logits: float (..., C, L, H, W).

    `entropy` is exact. `cdf` is each sub-pixel's own: (..., C, H, W).

    >>> d = CategoricalImages(torch.zeros(2, 1, 16, 4, 4))
    >>> d.batch_shape, d.event_shape, d.support.base_constraint
    (torch.Size([2]), torch.Size([1, 4, 4]), IntegerInterval(lower_bound=0, upper_bound=15))
    >>> d.mean[0, 0, 0, 0], d.entropy() / (16 * torch.tensor(16).log())
    (tensor(7.5000), tensor([1., 1.]))
    """

    arg_constraints: ClassVar = {"logits": constraints.independent(constraints.real, 4)}

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None):
        (self.logits,) = real_tensors("CategoricalImages", 4, logits=logits)
        channels, self.num_levels, *size = logits.shape[-4:]
        super().__init__(logits.shape[:-4], torch.Size([channels, *size]), validate_args)

    @property
    def mean(self) -> Tensor:
        """float (..., C, H, W), in units of levels."""
        return (self.logits.softmax(-3) * self._levels()).sum(-3)

    @property
    def variance(self) -> Tensor:
        """float (..., C, H, W), in squared levels."""
        from_mean = self._levels() - self.mean.unsqueeze(-3)
        return (self.logits.softmax(-3) * from_mean.square()).sum(-3)

    def log_prob_per_pixel(self, x: Tensor, fused: bool = True) -> Tensor:
        """log p of each pixel in nats, summed over its channels: float (..., H, W); fused has no effect."""
        batch = self._check(x)
        logits = self.logits.expand(*batch, *self.logits.shape[-4:]).flatten(0, -4)  # (N C, L, H, W)
        x = x.expand(*batch, *x.shape[-3:]).reshape(-1, *x.shape[-2:])
        if logits.stride(1) == 1:  # the levels of a pixel lie side by side: a table of pixels is quicker
            logits, x = logits.movedim(1, -1).reshape(-1, self.num_levels), x.flatten()
        log_p = -F.cross_entropy(logits, x.long(), reduction="none")
        return log_p.view(*batch, *self.event_shape).sum(-3)

    def conditional_log_pmf(self, x: Tensor | None = None) -> Tensor:
        """Every level's log-probability in nats: float (..., L, C, H, W). x is not needed, since channels are
        independent.
        """
        return self._given(x, self.logits.log_softmax(-3).movedim(-4, -3))

    def cdf(self, x: Tensor) -> Tensor:
        """P(X <= x) of each sub-pixel: float (..., C, H, W)."""
        batch = self._check(x)
        cdf = self.logits.softmax(-3).cumsum(-3).expand(*batch, *self.logits.shape[-4:])
        x = x.long().expand(*batch, *self.event_shape)
        return cdf.gather(-3, x.unsqueeze(-3)).squeeze(-3).clamp(max=1)

    def entropy(self) -> Tensor:
        """In nats, of the batch shape."""
        return entropy_of(self.logits.log_softmax(-3)).sum((-4, -3, -2, -1))

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """uint8 (*sample_shape, ..., C, H, W); int64 for more than 256 levels."""
        p = self.logits.softmax(-3).movedim(-3, -1)
        num = torch.Size(sample_shape).numel()
        if num == 0 or p.numel() == 0:
            return torch.empty((*sample_shape, *p.shape[:-1]), dtype=levels_dtype(self.num_levels), device=p.device)
        drawn = torch.multinomial(p.reshape(-1, self.num_levels), num, replacement=True, generator=generator)
        drawn = drawn.T.reshape(*sample_shape, *p.shape[:-1])
        return drawn.to(levels_dtype(self.num_levels))

    def _levels(self) -> Tensor:
        """The levels (L, 1, 1), of the logits' type."""
        return torch.arange(self.num_levels, device=self.logits.device, dtype=self.logits.dtype).view(-1, 1, 1)
