"""Logistics of any scale: exact where no ceiling holds them, and never stuck where a limit does."""

import itertools
import math
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch

from pixellib.likelihoods import (
    DiscretizedLogistic,
    DiscretizedLogisticImages,
    DiscretizedLogisticMixture,
    Gaussian,
    LogisticMixture,
)
from pixellib.models.autoregressive.convert import openai_pixelcnnpp

LOG_SCALES = [-7.0, -5.5, -3.0, 0.0, 3.0, 6.9, 7.5, 10.0, 13.0, 15.0]
MEANS = [-1.5, -0.98, 0.03, 0.7, 1.0, 30.0]
LEVELS = [0, 1, 100, 254, 255]
TAILS = ["censored", "truncated"]


def exact_log_mass(x, mean, log_scale, tails, num_levels=256):
    """From the definition, of numbers as floating point holds them, in digits that suffice for 1 - (1 - e^-1000)."""
    with mpmath.workdps(600):
        last = num_levels - 1
        centre = (mpmath.mpf(mean) + 1) * last / 2
        size = mpmath.exp(mpmath.mpf(log_scale)) * last / 2

        def below(end):
            return 1 / (1 + mpmath.exp((centre - end) / size))

        half = mpmath.mpf(1) / 2
        upper = below(x + half) if tails == "truncated" or x < last else mpmath.mpf(1)
        lower = below(x - half) if tails == "truncated" or x > 0 else mpmath.mpf(0)
        whole = below(last + half) - below(-half) if tails == "truncated" else 1
        return mpmath.log((upper - lower) / whole)


def grid(tails, dtype):
    """Log-masses of every combination, and images, means and log-scales to go with them, each (N, 1, 1, 1)."""
    cases = list(itertools.product(LEVELS, MEANS, LOG_SCALES))
    cases = [c for c in cases if abs(c[1] * 127.5 + 127.5 - c[0]) < 1000 * 127.5 * math.exp(c[2])]
    x, means, log_scales = torch.tensor(cases, dtype=torch.float64).T.reshape(3, -1, 1, 1, 1).unbind()
    means, log_scales = means.to(dtype), log_scales.to(dtype)
    exact = [
        float(exact_log_mass(int(level), mean, log_scale, tails))
        for level, mean, log_scale in zip(*(t.flatten().tolist() for t in (x, means, log_scales)), strict=True)
    ]
    return torch.tensor(exact, dtype=torch.float64), x.byte(), means, log_scales


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)], ids=["f64", "f32"])
@pytest.mark.parametrize("tails", TAILS)
def test_masses_are_exact_at_every_scale(tails, dtype, tolerance, fused):
    """There used to be a ceiling of 7 on log-scales, which made up to a quarter of a pixel's log-likelihood."""
    exact, x, means, log_scales = grid(tails, dtype)
    assert len(exact) > 200
    close = {
        "rtol": tolerance,
        "atol": 10 * torch.finfo(dtype).eps,
    }  # where nearly all mass is, its logarithm is near 0
    d = DiscretizedLogisticImages(means, log_scales, tails=tails)
    log_p = d.log_prob_per_pixel(x, fused).flatten().double()
    torch.testing.assert_close(log_p, exact, **close)
    from_network = DiscretizedLogistic(tails=tails)(torch.cat([means, log_scales], 1))
    torch.testing.assert_close(from_network.log_prob(x).double(), exact, **close)
    pmf = d.conditional_log_pmf(x).gather(1, x.long().unsqueeze(1)).flatten().double()
    torch.testing.assert_close(pmf, exact, **close)


@pytest.mark.parametrize("tails", TAILS)
def test_a_mixture_of_three_channels_is_exact_at_every_scale(tails):
    """In float32 the product of three narrow shares, each e^-20, must not be lost."""
    generator = torch.Generator().manual_seed(0)
    logits, means, log_scales = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((20, 2, 1, 1), (20, 3, 2, 1, 1), (20, 3, 2, 1, 1))
    )
    log_scales = (4 + 8 * log_scales).clamp(-5, 15)
    x = torch.randint(256, (20, 3, 1, 1), generator=generator, dtype=torch.uint8)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        parameters = [t.to(dtype) for t in (logits, means, log_scales)]
        prior, mu, s = (t.double().flatten(1).tolist() for t in parameters)
        exact = []
        for i, pixel in enumerate(x.flatten(1).tolist()):
            with mpmath.workdps(60):
                terms = [
                    mpmath.exp(prior[i][k] + sum(exact_log_mass(pixel[c], mu[i][2 * c + k], s[i][2 * c + k], tails)
                                                 for c in range(3)))
                    for k in range(2)
                ]  # fmt: skip
                exact.append(float(mpmath.log(sum(terms) / sum(mpmath.exp(p) for p in prior[i]))))
        log_p = DiscretizedLogisticMixture(*parameters, tails=tails).log_prob(x)
        torch.testing.assert_close(log_p.double(), torch.tensor(exact, dtype=torch.float64), rtol=tolerance, atol=0)


@pytest.mark.parametrize("tails", TAILS)
def test_gradients_in_float32_are_those_in_float64_at_every_scale(tails):
    _, x, means, log_scales = grid(tails, torch.float32)
    gradients = []
    for dtype, fused in ((torch.float32, True), (torch.float64, True), (torch.float64, False)):
        parameters = [t.to(dtype).requires_grad_() for t in (means, log_scales)]
        log_p = DiscretizedLogisticImages(*parameters, tails=tails).log_prob_per_pixel(x, fused)
        gradients.append([g.double() for g in torch.autograd.grad(log_p.sum(), parameters)])
    single, double, unfused = gradients
    torch.testing.assert_close(double, unfused, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(single, double, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("tails", TAILS)
@pytest.mark.parametrize("log_scale", [19.0, 20.5, 40.0, 90.0, 1e3, 1e9])
def test_absurd_scales_have_their_limit_and_a_gradient(log_scale, tails):
    """Censored, an inner level loses one nat with each of the log-scale; truncated, all levels are as probable."""
    likelihood, x = LogisticMixture(1, tails), torch.tensor([0, 100, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    for dtype in (torch.float32, torch.float64):
        params = torch.tensor([0.0, 0.2, log_scale], dtype=dtype).view(1, 3, 1, 1).expand(3, 3, 1, 1).requires_grad_()
        log_p = likelihood(params).log_prob(x)
        slope = torch.autograd.grad(log_p.sum(), params)[0][:, 2].flatten()
        if tails == "truncated":
            expected, slopes = [-math.log(256)] * 3, [0.0] * 3
        else:
            inner = math.log(2 / 255) - log_scale - 2 * math.log(2)
            expected, slopes = [-math.log(2), inner, -math.log(2)], [0.0, -1.0, 0.0]
        torch.testing.assert_close(log_p, torch.tensor(expected, dtype=dtype), rtol=1e-5, atol=0)
        torch.testing.assert_close(slope, torch.tensor(slopes, dtype=dtype), rtol=1e-5, atol=1e-5)
        assert torch.isfinite(likelihood(params).mean).all()
        drawn = likelihood(params[:1]).sample((400,)).float()
        assert 90 < drawn.mean() < 165, "as much above the middle as below it"


@pytest.mark.parametrize("log_scale", [3.0, 7.0, 10.0, 15.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_of_wide_truncated_logistics_are_spread_over_all_levels(log_scale, dtype):
    """Where sigmoids at both ends of the range agree in all their digits, the level must not be read off from them."""
    means = torch.tensor([-0.5, 0.8], dtype=dtype).view(2, 1, 1, 1)
    d = DiscretizedLogisticImages(means, torch.full_like(means, log_scale), tails="truncated")
    x = d.sample((40_000,), generator=torch.Generator().manual_seed(0)).flatten(1)
    for i in range(2):
        observed = torch.bincount(x[:, i].long(), minlength=256).double()
        expected = 40_000 * d.conditional_log_pmf().double().exp()[i].flatten()
        statistic = ((observed - expected).square() / expected).sum().item()
        assert abs(statistic - 255) < 5 * math.sqrt(2 * 255), "chi-squared of 256 levels"


def test_the_converted_network_has_no_ceiling_either():
    """The published code has none. Its output layer is scaled here until log-scales reach 15."""
    published = dict(np.load(Path(__file__).parent / "fixtures" / "openai_pixelcnnpp.npz", allow_pickle=False))
    arrays = {str(name): published[str(name)] for name in published["var_order"]}
    bias, K = next(name for name in reversed(list(arrays)) if name.endswith("/b")), 3
    head = bias.removesuffix("/b")
    index = torch.arange(10 * K)
    is_scale = ((index >= K) & (((index - K) // K) % 3 == 1)).numpy()
    arrays[f"{head}/g"] = arrays[f"{head}/g"] * np.where(is_scale, 4, 1)
    arrays[bias] = arrays[bias] + np.where(is_scale, 6, 0)
    model, x = openai_pixelcnnpp(arrays), torch.from_numpy(published["x"]).permute(0, 3, 1, 2)[:, :, :8, :8]
    with torch.no_grad():
        params = model.params(x)
        log_p = model.log_prob(x)
        doubles = model.likelihood(params.double()).log_prob(x)
    log_scales = params.unflatten(1, (-1, K))[:, 2::3]
    assert 14 < log_scales.max() < 16 and (log_scales > 7).float().mean() > 0.2
    exact = [exact_log_likelihood(p, image, K) for p, image in zip(params, x, strict=True)]
    exact = torch.tensor(exact, dtype=torch.float64)
    torch.testing.assert_close(doubles, exact, rtol=1e-9, atol=0)
    torch.testing.assert_close(log_p.double(), exact, rtol=3e-6, atol=0)


def exact_log_likelihood(params, x, K):
    """Of one image (3, H, W) under params (10 K, H, W), in 60 digits."""
    total = mpmath.mpf(0)
    with mpmath.workdps(60):
        for row, column in itertools.product(*map(range, x.shape[1:])):
            numbers = [mpmath.mpf(v) for v in params[:, row, column].double().tolist()]
            pixel = x[:, row, column].tolist()
            r, g = (mpmath.mpf(2 * v) / 255 - 1 for v in pixel[:2])
            terms = []
            for k in range(K):
                mean, scale, shift = ([numbers[K + K * (3 * c + part) + k] for c in range(3)] for part in range(3))
                c0, c1, c2 = map(mpmath.tanh, shift)
                means = mean[0], mean[1] + c0 * r, mean[2] + c1 * r + c2 * g
                of_channels = zip(pixel, means, scale, strict=True)
                terms.append(numbers[k] + sum(exact_log_mass(v, m, max(s, -7), "censored") for v, m, s in of_channels))
            prior = mpmath.log(sum(map(mpmath.exp, numbers[:K])))
            total += mpmath.log(sum(map(mpmath.exp, terms))) - prior
    return float(total)


def test_there_is_no_ceiling_unless_asked_for():
    for likelihood in (LogisticMixture(), DiscretizedLogistic()):
        assert likelihood.max_log_scale is None and likelihood.min_log_scale == -7
    x, params = torch.full((1, 1, 1, 1), 100, dtype=torch.uint8), torch.tensor([0.1, 50.0]).view(1, 2, 1, 1)
    free, held, at_limit = (
        DiscretizedLogistic(max_log_scale=limit)(params.clamp(max=most)).log_prob(x)
        for limit, most in ((None, 50), (7.0, 50), (7.0, 7))
    )
    assert held == at_limit and free < held - 40


def descend(likelihood, images, start, moving):
    """Parameters after 300 steps of 0.25 down the slope of minus log-likelihood; only those in `moving` change."""
    params = torch.tensor(start).view(1, -1, 1, 1).requires_grad_()
    for _ in range(300):
        (slope,) = torch.autograd.grad(-likelihood(params).log_prob(images).mean(), params)
        with torch.no_grad():
            params[:, moving] -= 0.25 * slope[:, moving].sign()
    return params.detach().flatten()


def levels_around(centre):
    """200 images of one sub-pixel, within 35 levels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(centre - 35, centre + 35, (200, 1, 1, 1), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("raw", [-50.0, -9.0, 9.0, 60.0])
@pytest.mark.parametrize("tails", TAILS)
def test_gradient_descent_brings_a_scale_back_from_beyond_its_limits(tails, raw):
    """A scale beyond a limit used to feel no gradient and stayed there for ever, whatever the images wanted."""
    one = DiscretizedLogistic(tails=tails, max_log_scale=5.0)
    assert -3 < descend(one, levels_around(128), [0.0, raw], moving=[1])[1] < -1
    # Components that are wanted: beyond the lower limit both are, each by a group of its own; beyond the upper one the
    # second is, by images that the first, which is held, does not reach.
    two, other, moving = LogisticMixture(2, tails, max_log_scale=5.0), min(raw, -3.5), [4, 5] if raw < 0 else [5]
    images = torch.cat([levels_around(58), levels_around(198)])
    params = descend(two, images, [0.0, 0.0, -0.55, 0.55, other, raw], moving)
    assert ((params[moving] > -3) & (params[moving] < 2)).all()


@pytest.mark.parametrize("likelihood", [DiscretizedLogistic(max_log_scale=5.0), Gaussian()], ids=str)
def test_a_limit_holds_what_would_only_drift_further(likelihood):
    """Outward, log p has no slope; inward, it has that at the limit. Both at the lower and at the upper limit."""
    low, high = (-30, 30) if isinstance(likelihood, Gaussian) else (-7, 5)
    grey = torch.full((1, 1, 1, 1), 100, dtype=torch.uint8)
    right, wrong = float(2 * 100 / 255 - 1), 0.5
    for mean, raw, limit, comes_back in (
        (right, low - 3.0, low, False),  # narrower would be better still
        (wrong, low - 3.0, low, True),
        (right, high + 3.0, high, True),  # narrower would be better
        (1e3 if high == 5 else 1e10, high + 3.0, high, False),  # so far off that wider would be better
    ):
        beyond, at = (torch.tensor([mean, s]).view(1, 2, 1, 1).requires_grad_() for s in (raw, limit))
        log_p = [likelihood(p).log_prob(grey) for p in (beyond, at)]
        assert log_p[0] == log_p[1]
        slopes = [torch.autograd.grad(v.sum(), p)[0].flatten() for v, p in zip(log_p, (beyond, at), strict=True)]
        assert slopes[0][0] == slopes[1][0]
        assert slopes[0][1] == (slopes[1][1] if comes_back else 0)
        assert (slopes[1][1] < 0) == ((raw > limit) == comes_back), "which way the images want it"


@pytest.mark.parametrize("raw", [-60.0, 60.0])
def test_gradient_descent_brings_a_variance_back_from_beyond_its_limits(raw):
    assert -5 < descend(Gaussian(), levels_around(128), [0.0, raw], moving=[1])[1] < -3
