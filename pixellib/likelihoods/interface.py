"""What every observation model offers, whatever the network under it."""

from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution


class Likelihood(Protocol):
    """An observation model p(x | params).

    Calling it with params, float (B, P, H, W), gives a `torch.distributions.Distribution` of batch shape (B,) and
    event shape (C, H, W), whose values are images, uint8 (B, C, H, W). Beside the usual `log_prob(x) -> (B,)` in
    nats, `sample() -> uint8` and `mean -> float` (in the units of x, 0..255) it has `log_prob_per_pixel(x) -> (B, H,
    W)` and `log_pmf(x) -> (B, L, C, H, W)`: every value's log-probability, later channels given x's earlier ones.
    """

    def num_params(self, channels: int) -> int:
        """P: how many parameters the network gives each pixel of an image with so many colour channels."""

    def param_groups(self, channels: int) -> torch.LongTensor:
        """(P,): the colour channel each parameter serves, 0 for shared ones."""

    def __call__(self, params: Tensor) -> Distribution:
        """The distribution of images under params, float (B, P, H, W)."""
