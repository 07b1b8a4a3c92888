"""Moments, entropies and distribution functions of images agree with samples and with sums over all levels."""

import pytest
import torch
from distribution_families import (
    MASSES,
    C,
    H,
    W,
    bernoulli,
    categorical,
    coupled,
    gaussian,
    grey_bernoulli,
    logistic,
    mixture,
    permuted,
    seeded,
    truncated,
)

from pixellib.likelihoods import CategoricalImages, DiscretizedLogisticImages, DiscretizedLogisticMixture


@pytest.mark.parametrize(
    "family", [bernoulli, grey_bernoulli, categorical, gaussian, logistic, mixture, coupled, truncated]
)
def test_mean_and_variance_are_those_of_the_samples(family):
    """Within five standard errors of 40,000 draws.

    Coupled channels are taken where `mean` and `variance` neglect little, away from the ends of the range.
    """
    d = family(size=(2, 2), seed=3)
    if family in (coupled, truncated):
        parameters = d.logits, 0.2 * d.means, 0.3 * d.log_scales - 3.5, 0.5 * d.coefficients
        d = DiscretizedLogisticMixture(*parameters, tails=d.tails)
    x = d.sample((40_000,), generator=seeded(1)).double()
    mean, variance = x.mean(0), x.var(0)
    fourth = (x - mean).pow(4).mean(0)
    rounding = 1 / 12 if family is gaussian else 0.0  # its samples are rounded, its variance is not
    assert ((d.mean - mean).abs() < 5 * (variance / 40_000).sqrt()).all()
    error = 5 * ((fourth - variance.square()) / 40_000).sqrt()
    assert ((d.variance + rounding - variance).abs() < error).all()
    torch.testing.assert_close(d.stddev, d.variance.sqrt())


@pytest.mark.parametrize("family", MASSES)
def test_mean_and_variance_of_one_channel_are_sums_over_the_levels(family):
    d = family(2, channels=1, seed=1)
    p = d.conditional_log_pmf(d.sample()).exp()
    levels = torch.tensor(d.values, dtype=p.dtype).view(-1, 1, 1, 1)
    mean = (p * levels).sum(-4)
    torch.testing.assert_close(d.mean, mean)
    torch.testing.assert_close(d.variance, (p * (levels - mean.unsqueeze(-4)).square()).sum(-4))


@pytest.mark.parametrize("scale", [-7.0, -3.0, 0.0, 5.0, 15.0])
@pytest.mark.parametrize("tails", ["censored", "truncated"])
def test_moments_in_float32_keep_their_digits(tails, scale):
    """Small variances are not lost in squares of levels, nor is anything lost for wide or distant logistics."""
    means = torch.tensor([-0.9, 0.1, 1.0, 4.0]).view(1, 1, 4).double()
    wide = DiscretizedLogisticImages(means, torch.full_like(means, scale), tails=tails)
    narrow = DiscretizedLogisticImages(means.float(), torch.full_like(means, scale).float(), tails=tails)
    torch.testing.assert_close(narrow.mean.double(), wide.mean, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(narrow.variance.double(), wide.variance, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", MASSES)
def test_an_image_of_one_sub_pixel_enumerates_its_support(family):
    d = family(2, channels=1, size=(1, 1))
    assert d.has_enumerate_support
    values = d.enumerate_support()
    assert values.shape == (len(d.values), 2, 1, 1, 1) and values.flatten(1)[:, 0].tolist() == list(d.values)
    assert d.enumerate_support(expand=False).shape == (len(d.values), 1, 1, 1, 1)
    p = d.log_prob(values).exp()
    torch.testing.assert_close(p.sum(0), torch.ones(2, dtype=p.dtype))
    torch.testing.assert_close(d.entropy(), -(p * p.log()).sum(0))
    torch.testing.assert_close(d.cdf(values).flatten(1), p.cumsum(0))
    drawn = d.sample((100_000,), generator=seeded(2)).flatten(1)
    frequencies = torch.stack([(drawn == v).double().mean(0) for v in d.values])
    assert ((frequencies - p).abs() < 5 * (p * (1 - p) / 100_000).sqrt() + 1e-4).all()


@pytest.mark.parametrize("family", [bernoulli, categorical, gaussian, logistic, mixture])
def test_entropy_is_the_mean_surprise(family):
    d = family(channels=1 if family is mixture else 3, size=(2, 2))
    surprise = -d.log_prob(d.sample((20_000,), generator=seeded(3)))
    assert abs(d.entropy() - surprise.mean()) < 5 * surprise.std() / 20_000**0.5 + (0.05 if family is gaussian else 0)
    assert family(4, 2, channels=1).entropy().shape == (4, 2)


@pytest.mark.parametrize("tails", ["censored", "truncated"])
def test_the_cdf_of_each_sub_pixel_sums_its_own_masses(tails):
    """Three channels that share a component but not their values: each has its own distribution function."""
    d = mixture(tails=tails, size=(1, 1))
    for c in range(C):
        one = DiscretizedLogisticMixture(d.logits, d.means[c : c + 1], d.log_scales[c : c + 1], tails=tails)
        x = one.enumerate_support()
        cdf = d.cdf(x.expand(-1, C, 1, 1))[:, c].flatten()
        torch.testing.assert_close(cdf, one.log_prob(x).exp().cumsum(0))
        assert cdf[-1] == 1 and (cdf.diff() >= 0).all()


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda x: coupled().cdf(x), "the cdf of coupled channels is not computed"),
        (lambda x: mixture().entropy(), "the entropy of 3 channels is not computed"),
        (lambda x: grey_bernoulli().entropy(), "do not sum to one"),
        (lambda x: grey_bernoulli().cdf(x), "do not sum to one"),
        (lambda x: mixture().enumerate_support(), r"images \(3, 2, 3\) are not enumerated"),
        (lambda x: grey_bernoulli(channels=1, size=(1, 1)).enumerate_support(), "are not enumerated"),
        (lambda x: gaussian(channels=1, size=(1, 1)).enumerate_support(), "are not enumerated"),
        (lambda x: permuted().cdf(x), "cdf of permuted images is for 1 channel"),
        (lambda x: permuted().variance, "variance of permuted images is for 1 channel"),
    ],
)
def test_what_is_not_cheap_is_not_implemented_and_says_so(ask, complaint):
    with pytest.raises(NotImplementedError, match=complaint):
        ask(torch.zeros(C, H, W, dtype=torch.uint8))


@pytest.mark.parametrize(
    "build",
    [
        lambda t: DiscretizedLogisticImages(t, t - 6),
        lambda t: CategoricalImages(torch.stack([t, t + 200], -3)),
        lambda t: DiscretizedLogisticMixture(t, t.unsqueeze(-4), t.unsqueeze(-4) - 6),
    ],
)
def test_entropy_has_a_gradient_where_levels_are_so_improbable_that_their_mass_is_zero(build):
    t = torch.zeros(1, 2, 2, requires_grad=True)
    entropy = build(t).entropy()
    (gradient,) = torch.autograd.grad(entropy, t)
    assert torch.isfinite(entropy) and torch.isfinite(gradient).all()
