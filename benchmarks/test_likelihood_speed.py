"""The mixture of logistics against the textbook's loss and sampler, written as they are usually published: channels
last, every difference of sigmoids computed three ways and chosen from, all of it kept for the backward pass.
"""

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from pixellib.likelihoods import LogisticMixture

BATCH, K, SIZE = 16, 10, 32


def inputs():
    """The output of a network for 16 CIFAR-10 images, spread as in a trained one, and images it could be for."""
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(BATCH, 10 * K, SIZE, SIZE, generator=generator)
    params[:, K:].unflatten(1, (3, 3, K))[:, :, 1] -= 3
    return params.requires_grad_(), LogisticMixture(K)(params).sample(generator=generator)


def textbook_parts(l):  # noqa: E741
    """Logits (B, H, W, K) and means, log-scales, coefficients (B, H, W, 3, K), of l (B, H, W, 10 K)."""
    logits, rest = l[..., :K], l[..., K:].reshape(*l.shape[:-1], 3, 3 * K)
    means, log_scales, coefficients = rest.split(K, -1)
    return logits, means, log_scales.clamp(min=-7), coefficients.tanh()


def textbook_loss(params, x):
    """In nats, mean over images; params (B, 10 K, H, W), x uint8 (B, 3, H, W)."""
    logits, means, log_scales, coefficients = textbook_parts(params.permute(0, 2, 3, 1))
    x = (x.permute(0, 2, 3, 1).float() / 127.5 - 1).unsqueeze(-1).expand_as(means)
    green = means[..., 1, :] + coefficients[..., 0, :] * x[..., 0, :]
    blue = means[..., 2, :] + coefficients[..., 1, :] * x[..., 0, :] + coefficients[..., 2, :] * x[..., 1, :]
    centred = x - torch.stack([means[..., 0, :], green, blue], -2)
    inverse = torch.exp(-log_scales)
    upper, lower, middle = inverse * (centred + 1 / 255), inverse * (centred - 1 / 255), inverse * centred
    first, last = upper - F.softplus(upper), -F.softplus(lower)
    mass = torch.sigmoid(upper) - torch.sigmoid(lower)
    density = middle - log_scales - 2 * F.softplus(middle)
    inside = torch.where(mass > 1e-5, torch.log(mass.clamp(min=1e-12)), density - 4.848)
    log_mass = torch.where(x < -0.999, first, torch.where(x > 0.999, last, inside))
    log_joint = log_mass.sum(3) + F.log_softmax(logits, -1)
    return -torch.logsumexp(log_joint, -1).sum((1, 2)).mean()


def textbook_sample(params):
    """Component by Gumbel noise and a one-hot product, then channel after channel, not rounded in between."""
    logits, means, log_scales, coefficients = textbook_parts(params.permute(0, 2, 3, 1))
    noise = -torch.log(-torch.log(torch.rand_like(logits).clamp(1e-5, 1 - 1e-5)))
    chosen = F.one_hot((logits + noise).argmax(-1), K).unsqueeze(-2)
    means, log_scales, coefficients = ((part * chosen).sum(-1) for part in (means, log_scales, coefficients))
    u = torch.rand_like(means).clamp(1e-5, 1 - 1e-5)
    x = means + torch.exp(log_scales) * (torch.log(u) - torch.log(1 - u))
    red = x[..., 0].clamp(-1, 1)
    green = (x[..., 1] + coefficients[..., 0] * red).clamp(-1, 1)
    blue = (x[..., 2] + coefficients[..., 1] * red + coefficients[..., 2] * green).clamp(-1, 1)
    x = torch.stack([red, green, blue], 1)
    return ((x + 1) * 127.5).round().to(torch.uint8)


def ours_loss(params, x):
    return -LogisticMixture(K)(params).log_prob(x).mean()


def peak_megabytes(loss) -> float:
    """By how much forward and backward raise the peak memory of a process of their own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (loss.__name__,))


def _peak(name: str) -> float:
    torch.set_num_threads(1)
    params, x = inputs()
    globals()[name](params[..., :4, :4], x[..., :4, :4]).backward()  # what a process needs once
    params.grad = None
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew from what is held now
    before = _status("VmRSS")
    globals()[name](params, x).backward()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    """A line of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def test_loss(compare):
    params, x = inputs()
    with torch.no_grad():
        assert abs(ours_loss(params, x) / textbook_loss(params, x) - 1) < 0.01, "the two score the same thing"

    def gradient(loss):
        return torch.autograd.grad(loss(params, x), params)

    row = compare(
        f"DMoL, batch {BATCH}, 32 x 32 x 3, K = {K}: loss, gradient", ("gradient_of_mixture", BATCH, K, SIZE),
        lambda: gradient(textbook_loss), ask="<= 10 ms", rounds=31,
    )  # fmt: skip
    ours, theirs = peak_megabytes(ours_loss), peak_megabytes(textbook_loss)
    row["peak_megabytes"], row["reference_peak_megabytes"] = ours, theirs
    row["note"] = f"peak memory {ours:.0f} MB against {theirs:.0f} MB; goal: half"


def test_compiled_loss(compare):
    params, x = inputs()
    work = ("gradient_of_mixture", BATCH, K, SIZE)
    compare(
        f"DMoL, batch {BATCH}, 32 x 32 x 3, K = {K}: loss, gradient, compiled", (*work, True),
        lambda: torch.autograd.grad(textbook_loss(params, x), params), earlier_as=work, ask="<= 10 ms", rounds=31,
    )  # fmt: skip


@pytest.mark.parametrize("tails", ["censored", "truncated"])
def test_sampling(compare, tails):
    params = inputs()[0].detach()
    likelihood = LogisticMixture(K, tails)
    compare(
        f"DMoL ({tails}), batch {BATCH}, 32 x 32 x 3, K = {K}: sample", lambda: likelihood(params).sample(),
        lambda: textbook_sample(params), rounds=31,
    )  # fmt: skip
