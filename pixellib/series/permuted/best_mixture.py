"""What the best mixture of logistics must lose to a softmax, found by fitting one to each of its predictions."""

import math

import torch
from torch import Tensor

from pixellib.likelihoods import LogisticMixture
from pixellib.models import AutoregressiveModel

STEPS, MOST_BROAD = 300, 4


def divergence(pmf: Tensor, likelihood: LogisticMixture, steps: int = STEPS) -> Tensor:
    """KL(pmf || mixture) in bits for the best mixture that gradient descent finds from several starts, within the
    limits of the likelihood: float (N,), for pmf float (N, L). It bounds from above what the best mixture loses.

    Components begin narrow on the most probable symbols; or one to four of them broad and side by side, and the others
    narrow; or wide on the quantiles; or all side by side, as in a training.

    >>> pmf = torch.distributions.Normal(100, 20).log_prob(torch.arange(256.0)).softmax(0)
    >>> bool(divergence(pmf[None], LogisticMixture(1, "truncated")) < 0.02)
    True
    """
    num_levels, K = pmf.shape[1], likelihood.num_components
    if num_levels <= K:  # a narrow component on each symbol
        return torch.zeros(len(pmf))
    alike = torch.zeros(len(pmf), K)
    at = torch.searchsorted(pmf.cumsum(1), ((torch.arange(K) + 0.5) / K).expand(len(pmf), K).contiguous())
    quantiles = 2 * at.clamp(max=num_levels - 1) / (num_levels - 1) - 1
    starts = [_narrow_and_broad(pmf, K, num_broad) for num_broad in range(min(K, MOST_BROAD) + 1)]
    starts += [(alike, quantiles, alike - math.log(K)), (alike, alike + _side_by_side(K), alike - math.log(2 * K))]
    return torch.stack([_descend(pmf, likelihood, start, steps) for start in starts]).amin(0)


def _narrow_and_broad(pmf: Tensor, num_components: int, num_broad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, means and log-scales, float (N, K) each: some components broad and side by side, all others narrow on the
    most probable symbols.
    """
    top = pmf.topk(num_components - num_broad)
    blank = torch.zeros(len(pmf), num_broad)
    rest = ((1 - top.values.sum(1, keepdim=True)) / max(1, num_broad)).clamp(min=1e-6)
    logits = torch.cat([top.values.clamp(min=1e-6).log(), rest.log() + blank], 1)
    means = torch.cat([2 * top.indices / (pmf.shape[1] - 1) - 1, blank + _side_by_side(num_broad)], 1)
    return logits, means, torch.cat([torch.full_like(top.values, -5.5), blank - math.log(3 * max(1, num_broad))], 1)


def _side_by_side(num: int) -> Tensor:
    return (2 * torch.arange(num) + 1) / max(1, num) - 1


def divergence_of_bins(pmf: Tensor, num_bins: int) -> Tensor:
    """KL(pmf || histogram) in bits, float (N,), for pmf float (N, L): of equal bins, each with the mass that pmf has
    there.

    >>> divergence_of_bins(torch.full((1, 256), 1 / 256), 10)
    tensor([0.])
    """
    num_levels = pmf.shape[1]
    which = torch.arange(num_levels) * num_bins // num_levels
    mass = torch.zeros(len(pmf), num_bins).index_add(1, which, pmf)
    histogram = (mass / which.bincount())[:, which]
    return (torch.xlogy(pmf, pmf) - torch.xlogy(pmf, histogram)).sum(1) / math.log(2)


def _descend(pmf: Tensor, likelihood: LogisticMixture, start: tuple[Tensor, ...], steps: int) -> Tensor:
    """The divergence in bits, float (N,), after so many steps of Adam from logits, means and log-scales, float (N, K)
    each.
    """
    blank = torch.zeros(len(pmf), 1, 1, 1, dtype=torch.uint8)
    logits, means, log_scales = start
    highest = math.inf if likelihood.max_log_scale is None else likelihood.max_log_scale
    start = logits, means, log_scales.clamp(max=highest)
    parts = [part.detach().clone().requires_grad_() for part in start]
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
        with torch.no_grad():
            parts[2].clamp_(max=highest)  # beyond the limit it would have no gradient, and stay there
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
