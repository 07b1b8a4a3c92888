"""The discretised logistic and its mixture are exact: against 60-digit arithmetic, limits and plain derivatives."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pixellib.likelihoods import (
    DiscretizedLogistic,
    LogisticMixture,
    logistic_numerics,
    published_log_prob_per_pixel,
)

CASES = np.load(Path(__file__).parent / "fixtures" / "dmol_cases.npz")


def case(name, dtype=torch.float64):
    """Images, parameters as NCHW, and the exact log-likelihood of each pixel (float64)."""
    x, params = (torch.from_numpy(CASES[f"{name}_{key}"]).permute(0, 3, 1, 2).contiguous() for key in ("x", "l"))
    return x, params.to(dtype), torch.from_numpy(CASES[f"{name}_exact_loglik_per_pixel"])


def plain(params, x, K, tails="censored"):
    """log p per pixel for three coupled channels in float64, from the definition: a difference of two sigmoids."""
    logits, rest = params.split([K, 9 * K], 1)
    means, log_scales, coefficients = rest.unflatten(1, (3, 3, K)).unbind(2)
    c0, c1, c2 = coefficients.tanh().unbind(1)
    y = (x.double() / 127.5 - 1).unsqueeze(2)
    means = torch.stack([means[:, 0], means[:, 1] + c0 * y[:, 0], means[:, 2] + c1 * y[:, 0] + c2 * y[:, 1]], 1)
    centre, scale = 127.5 * (means + 1), 127.5 * log_scales.clamp(min=-7).exp()
    x = x.double().unsqueeze(2)
    ends = [x + 0.5 if tails == "truncated" else torch.where(x == 255, 1e9, x + 0.5),
            x - 0.5 if tails == "truncated" else torch.where(x == 0, -1e9, x - 0.5)]  # fmt: skip

    def between(upper, lower):
        """From the side where the sigmoids are small, and their difference keeps its digits."""
        upper, lower = (upper - centre) / scale, (lower - centre) / scale
        below = upper + lower < 0
        return torch.where(below, upper.sigmoid() - lower.sigmoid(), (-lower).sigmoid() - (-upper).sigmoid())

    mass = between(*ends)
    if tails == "truncated":
        mass = mass / between(torch.tensor(255.5), torch.tensor(-0.5))
    return (logits.log_softmax(1) + mass.log().sum(1)).logsumexp(1)


@pytest.mark.parametrize("name", ["A", "C"])
def test_float64_is_exact_to_nine_digits(name):
    x, params, exact = case(name)
    torch.testing.assert_close(LogisticMixture()(params).log_prob_per_pixel(x), exact, atol=0, rtol=1e-9)


@pytest.mark.parametrize("name", ["A", "C"])
def test_float32_is_exact_to_a_fiftieth_of_a_nat_or_a_thousandth(name):
    x, params, exact = case(name, torch.float32)
    log_p = LogisticMixture()(params.requires_grad_()).log_prob_per_pixel(x)
    error = (log_p.double() - exact).abs()
    assert (error < torch.maximum(torch.tensor(2e-2), 1e-3 * exact.abs())).all()
    assert torch.isfinite(torch.autograd.grad(log_p.sum(), params)[0]).all()


def test_the_published_loss_is_the_published_one_and_not_exact():
    """On narrow components it misses by about two nats a sub-pixel, which is what the series shows."""
    x, params, exact = case("C")
    published = published_log_prob_per_pixel(params, x)
    theirs = -torch.from_numpy(CASES["C_openai_formula_f64_nll_per_pixel"])
    torch.testing.assert_close(published, theirs, atol=1e-6, rtol=0)
    worst = (exact - published).max().item()
    assert 2 < worst < 3 * 2.15


@pytest.mark.parametrize("tails", ["censored", "truncated"])
def test_values_and_gradients_are_those_of_the_definition(tails):
    """The fused gradient against PyTorch's own of the plain formula, where that still has digits."""
    x, params, _ = case("A")
    x[0, :, 0, :2], x[1, 1, 2] = 0, 255
    params[:, 10:].unflatten(1, (3, 3, 10))[:, :, 1].clamp_(min=-2)  # narrower, and its sigmoids underflow
    likelihood = LogisticMixture(10, tails)
    ours = likelihood(params.requires_grad_()).log_prob_per_pixel(x)
    theirs = plain(params, x, 10, tails)
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-9)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(0), dtype=ours.dtype)
    gradients = [torch.autograd.grad((p * weights).sum(), params)[0] for p in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("scale", ["bounded", "free"])
@pytest.mark.parametrize("tails", ["censored", "truncated"])
@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_pass_a_numerical_check(scale, tails, channels):
    """Away from the limits of the log-scale, where there is no gradient; the ends' levels are among the images."""
    generator = torch.Generator().manual_seed(0)
    x = torch.tensor([0, 255, 100, 200], dtype=torch.uint8).view(1, 1, 2, 2).expand(2, channels, 2, 2)
    for likelihood in (DiscretizedLogistic(scale, tails), LogisticMixture(2, tails)):
        shape = (2, likelihood.num_params(channels), 2, 2)
        params = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(lambda p, d=likelihood: d(p).log_prob_per_pixel(x), (params,))


def test_slices_do_not_matter(monkeypatch):
    x, params, _ = case("A")
    monkeypatch.setattr(logistic_numerics, "SLICE", 1)
    one_by_one = LogisticMixture()(params.requires_grad_()).log_prob(x)
    gradient = torch.autograd.grad(one_by_one.sum(), params)[0]
    monkeypatch.setattr(logistic_numerics, "SLICE", 10**9)
    together = LogisticMixture()(params).log_prob(x)
    torch.testing.assert_close(one_by_one, together)
    torch.testing.assert_close(gradient, torch.autograd.grad(together.sum(), params)[0])


def test_a_floor_can_be_set():
    x, params = torch.full((1, 1, 1, 1), 100, dtype=torch.uint8), torch.tensor([0.0, -20.0]).view(1, 2, 1, 1)
    sharp, soft = (
        DiscretizedLogistic(min_log_scale=floor)(params).conditional_log_pmf(x)[0, :, 0, 0, 0] for floor in (-7, -2)
    )
    assert (soft.exp() > 1e-3).sum() > 50 > (sharp.exp() > 1e-3).sum()


def test_bounded_means_at_least_a_third_of_the_half_range():
    for raw in (-1e3, 1e3):
        d = DiscretizedLogistic("bounded")(torch.tensor([0.0, raw]).view(1, 2, 1, 1))
        assert abs(d.log_scales.item()) == 1


@settings(max_examples=50, deadline=None)
@given(
    distance=st.floats(0, 1e6),
    log_scale=st.floats(-7, 7),
    side=st.sampled_from([-1, 1]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_truncation_far_outside_is_the_exponential_limit(distance, log_scale, side, dtype):
    """A logistic's tail is exponential: seen from far outside, each level is e^(-1/scale) times the one before it."""
    scale = 127.5 * math.exp(log_scale)
    mean = side * (1 + 45 * scale / 127.5 + distance)
    d = DiscretizedLogistic(tails="truncated")(torch.tensor([mean, log_scale], dtype=dtype).view(1, 2, 1, 1))
    pmf = d.conditional_log_pmf(torch.zeros(1, 1, 1, 1, dtype=torch.uint8)).flatten().double()
    levels = torch.arange(256, dtype=torch.float64)
    expected = (side * levels / scale).log_softmax(0)
    likely = expected > -30
    tolerance = 2e-3 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(pmf[likely], expected[likely], atol=tolerance, rtol=tolerance)


def test_censored_tails_are_the_difference_between_the_two_rules():
    """A mean outside the range: censored, the last level takes nearly everything; truncated, it keeps its share."""
    params = torch.tensor([1.5, -2.0], dtype=torch.float64).view(1, 2, 1, 1)
    x = torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)
    rules = (DiscretizedLogistic(tails=tails) for tails in ("censored", "truncated"))
    censored, truncated = (rule(params).log_prob(x).exp().item() for rule in rules)
    assert censored > 0.97 and truncated < 0.1
    outside = 1 - torch.sigmoid(torch.tensor((255.5 - 127.5 * 2.5) / (127.5 * math.exp(-2)), dtype=torch.float64))
    assert censored > outside.item() > 0.97


def test_layout_of_published_networks():
    """K logits, then for each channel [K means | K log-scales | K coefficients]."""
    K = 4
    likelihood = LogisticMixture(K)
    assert likelihood.num_params(3) == 10 * K and likelihood.num_params(1) == 3 * K
    assert LogisticMixture(K, coupled=False).num_params(3) == 7 * K
    numbers = torch.arange(10 * K, dtype=torch.float64).view(1, -1, 1, 1)
    d = likelihood(numbers)
    assert d.logits.flatten().tolist() == [0, 1, 2, 3]
    assert d.means[0, 1, :, 0, 0].tolist() == [16, 17, 18, 19]
    index = likelihood.channel_index(3).view(10, K)
    assert (index == index[:, :1]).all() and index[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]


def test_coupling_shifts_green_by_red_and_blue_by_both():
    K = 1
    x = torch.tensor([255, 128, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    raw = torch.zeros(1, 10, 1, 1, dtype=torch.float64)
    raw[0, [3, 6, 9], 0, 0] = torch.tensor([0.3, -0.4, 0.8], dtype=torch.float64)  # c0, c1, c2 before tanh
    raw[0, [2, 5, 8], 0, 0] = -3
    pmf = LogisticMixture(K)(raw).conditional_log_pmf(x)[0, :, :, 0, 0].exp()
    r, g = 1.0, 128 / 127.5 - 1
    shifts = [0, math.tanh(0.3) * r, math.tanh(-0.4) * r + math.tanh(0.8) * g]
    levels = torch.arange(256, dtype=torch.float64)
    for c, shift in enumerate(shifts):
        single = DiscretizedLogistic()(torch.tensor([shift, -3], dtype=torch.float64).view(1, 2, 1, 1))
        torch.testing.assert_close(pmf[:, c], single.conditional_log_pmf(x[:, :1])[0, :, 0, 0, 0].exp())
    assert (pmf * levels[:, None]).sum(0)[1] > 150


def test_one_component_is_the_discretised_logistic():
    x, generator = torch.randint(256, (2, 1, 4, 4), dtype=torch.uint8), torch.Generator().manual_seed(0)
    params = torch.randn((2, 2, 4, 4), generator=generator, dtype=torch.float64)
    mixture = LogisticMixture(1)(torch.cat([torch.zeros(2, 1, 4, 4), params], 1))
    torch.testing.assert_close(mixture.log_prob(x), DiscretizedLogistic()(params).log_prob(x))


def test_pulling_a_lost_mean_back_has_the_right_strength():
    """Thousands of scales away the mass is 0 in floating point, and its logarithm and slope are still right."""
    x = torch.full((1, 1, 1, 1), 128, dtype=torch.uint8)
    params = torch.tensor([50.0, -5.0]).view(1, 2, 1, 1).requires_grad_()
    log_p = DiscretizedLogistic()(params).log_prob(x)
    scale = 127.5 * math.exp(-5)
    expected = F.logsigmoid(torch.tensor((128.5 - 127.5 * 51) / scale, dtype=torch.float64)) + math.log1p(
        -math.exp(-1 / scale)
    )
    torch.testing.assert_close(log_p.double().squeeze(), expected, rtol=1e-5, atol=0)
    slope = torch.autograd.grad(log_p.sum(), params)[0][0, 0].item()
    assert slope == pytest.approx(-127.5 / scale, rel=1e-5)
