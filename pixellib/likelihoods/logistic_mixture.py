"""The discretised mixture of logistics (DMoL), with the parameter layout of the published networks.

Salimans, Karpathy, Chen and Kingma, "PixelCNN++", ICLR 2017, sections 2.1 and 2.2.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pixellib.likelihoods.base import at_least_float32, check_params, scale_levels
from pixellib.likelihoods.discretized_logistic import LogisticMixtureImages, Tails, check_settings, couple


@dataclass(frozen=True)
class LogisticMixture:
    """K discretised logistics for each pixel, for 1 or 3 channels; a pixel's channels share its component.

    Parameters: K logits, then for each channel [K means | K log-scales | K coefficients], the coefficients only for
    three coupled channels. Means and scales are in units of the [-1, 1] image; coefficients go through tanh: green's
    mean grows by c0 red, blue's by c1 red + c2 green. tails: "censored" gives the tails to the first and the last level,
    "truncated" conditions each component, channel by channel, on falling inside the range. coupled=False leaves the
    coefficients out (layout [K means | K log-scales]).
    """

    kind: ClassVar = "mass"
    coupled_channels: ClassVar = True
    num_components: int = 10
    tails: Tails = "censored"
    num_levels: int = 256
    coupled: bool = True
    min_log_scale: float = -7.0
    max_log_scale: float = 7.0

    def __post_init__(self):
        if self.num_components < 1:
            raise ValueError(f"num_components must be at least 1, got {self.num_components}")
        check_settings(self)

    def num_params(self, channels: int) -> int:
        """ValueError unless there are 1 or 3 channels."""
        if channels not in (1, 3):
            raise ValueError(f"LogisticMixture is for 1 or 3 channels, got {channels}")
        return self.num_components * (1 + channels * self._parts(channels))

    def channel_index(self, channels: int) -> torch.LongTensor:
        """Logits 0; means and log-scales their channel; coefficients the channel whose mean they shift."""
        self.num_params(channels)
        blocks = [[c, c, (1, 2, 2)[c]][: self._parts(channels)] for c in range(channels)]
        groups = [0] + [group for block in blocks for group in block]
        return torch.tensor(groups).repeat_interleave(self.num_components)

    def spread_params(self, channels: int) -> Tensor:
        """Components side by side: equal weights, each with its share of the range. Float (P,), for every pixel."""
        K = self.num_components
        parts = {"logits": torch.zeros(K), "means": (2 * torch.arange(K) + 1) / K - 1}
        parts |= {"log_scales": torch.full((K,), -math.log(2 * K)), "coefficients": torch.zeros(K)}
        of_channel = [parts["means"], parts["log_scales"], parts["coefficients"]][: self._parts(channels)]
        return torch.cat([parts["logits"], *of_channel * channels])

    @torch.no_grad()
    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Components begin side by side over the range (see `spread_params`), and the weights at a tenth."""
        weight = layer.parametrizations.weight.original0 if parametrize.is_parametrized(layer) else layer.weight
        weight.mul_(0.1)
        layer.bias.copy_(self.spread_params(channels))

    def __call__(self, params: Tensor) -> LogisticMixtureImages:
        """ValueError for another number of parameters than K fits, FloatingPointError if one is not finite."""
        fitting = [self.num_params(channels) for channels in (1, 3)]
        if params.dim() < 3 or params.shape[-3] not in fitting:
            raise ValueError(
                f"LogisticMixture with {self.num_components} components expects {' or '.join(map(str, fitting))} "
                f"parameters (1 or 3 channels), got {tuple(params.shape)}"
            )
        check_params("LogisticMixture", params, 1)
        return LogisticMixtureImages(at_least_float32(params), self, "LogisticMixture")

    def unpack(self, params: Tensor) -> tuple[Tensor, ...]:
        """Views of logits (..., K, H, W), means, log-scales and, where there are, coefficients (..., C, K, H, W)."""
        K = self.num_components
        channels = 1 if params.shape[-3] == self.num_params(1) else 3
        logits, rest = params.split([K, params.shape[-3] - K], -3)
        return logits, *rest.unflatten(-3, (channels, -1, K)).unbind(-4)

    def _parts(self, channels: int) -> int:
        return 3 if self.coupled and channels == 3 else 2


def published_log_prob_per_pixel(params: Tensor, x: Tensor, num_components: int = 10) -> Tensor:
    """The loss as published, negated, for comparison only: float (B, H, W), in nats.

    params: float (B, 10 K, H, W); x: uint8 (B, 3, H, W). Where a bin's mass is below 1e-5 it is replaced by density
    times bin width, which makes the result up to 2.1 nats per sub-pixel too small. Computed in the [-1, 1] image.
    """
    likelihood = LogisticMixture(num_components)
    d = likelihood(params)
    y = scale_levels(x.to(d.means), 256).unsqueeze(2)
    inverse = torch.exp(-d.log_scales)
    centred = y - couple(d.means, d.coefficients, y, 1)
    upper, lower, middle = (inverse * (centred + shift / 255) for shift in (1, -1, 0))
    mass = upper.sigmoid() - lower.sigmoid()
    density = middle - d.log_scales - 2 * F.softplus(middle) - torch.tensor(127.5).log()
    inside = torch.where(mass > 1e-5, mass.clamp(min=1e-12).log(), density)
    log_mass = torch.where(y < -0.999, F.logsigmoid(upper), torch.where(y > 0.999, -F.softplus(lower), inside))
    return (log_mass.sum(1) + d.logits.log_softmax(1)).logsumexp(1)
