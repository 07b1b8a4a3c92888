"""What the best mixture of logistics must lose to a softmax, found by fitting one to each of its predictions."""

import math

import torch
from torch import Tensor

from pixellib.likelihoods import LogisticMixture
from pixellib.models import AutoregressiveModel

STEPS = 300


def divergence(pmf: Tensor, num_components: int, steps: int = STEPS) -> Tensor:
    """KL(pmf || mixture) in bits for the best truncated mixture that gradient descent finds from three starts: float
    (N,), for pmf float (N, 256). It bounds from above what the best mixture loses. Components begin narrow on the most
    probable symbols, or all but one of them, which is broad, or wide on the quantiles.

    >>> pmf = torch.distributions.Normal(100, 20).log_prob(torch.arange(256.0)).softmax(0)
    >>> bool(divergence(pmf[None], 1) < 0.02)
    True
    """
    num_levels, K = pmf.shape[1], num_components
    if num_levels <= K:  # a narrow component on each symbol
        return torch.zeros(len(pmf))
    top = pmf.topk(K)
    logits, means = top.values.clamp(min=1e-6).log(), 2 * top.indices / (num_levels - 1) - 1
    narrow = torch.full((len(pmf), K), -5.5)
    and_rest = narrow.clone()
    and_rest[:, -1] = -1.0
    at = torch.searchsorted(pmf.cumsum(1), ((torch.arange(K) + 0.5) / K).expand(len(pmf), K).contiguous())
    quantiles = 2 * at.clamp(max=num_levels - 1) / (num_levels - 1) - 1
    wide = torch.full((len(pmf), K), -math.log(K))
    starts = [(logits, means, narrow), (logits, means, and_rest), (torch.zeros_like(wide), quantiles, wide)]
    return torch.stack([_descend(pmf, *start, steps) for start in starts]).amin(0)


def _descend(pmf: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor, steps: int) -> Tensor:
    """The divergence in bits, float (N,), after so many steps of Adam from these parameters, float (N, K) each."""
    likelihood = LogisticMixture(logits.shape[1], "truncated", pmf.shape[1], min_log_scale=-9.0)
    blank = torch.zeros(len(pmf), 1, 1, 1, dtype=torch.uint8)
    parts = [part.detach().clone().requires_grad_() for part in (logits, means, log_scales)]
    groups = [{"params": [parts[0], parts[2]], "lr": 0.05}, {"params": [parts[1]], "lr": 0.002}]
    optimiser = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        log_q = likelihood(torch.cat(parts, 1)[:, :, None, None]).conditional_log_pmf(blank)[:, :, 0, 0, 0]
        nats = (torch.xlogy(pmf, pmf) - pmf * log_q).sum(1)
        optimiser.zero_grad()
        nats.sum().backward()
        optimiser.step()
        schedule.step()
    return nats.detach() / math.log(2)


@torch.no_grad()
def predictions(model: AutoregressiveModel, images: Tensor, seed: int = 0) -> Tensor:
    """The distribution that a model of one channel predicts for one pixel of each image, drawn from the seed: float
    (N, L), for uint8 (N, 1, H, W).
    """
    device, (height, width) = next(model.parameters()).device, images.shape[-2:]
    place = torch.randint(height * width, (len(images),), generator=torch.Generator().manual_seed(seed))
    pmf = torch.cat([model(x).conditional_log_pmf(x)[:, :, 0].flatten(2).cpu() for x in images.to(device).split(20)])
    return pmf.exp()[torch.arange(len(images)), :, place].clone()
