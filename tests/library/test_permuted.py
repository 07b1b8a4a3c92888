"""A permuted likelihood is the likelihood of the symbols: still a mass, whatever the permutation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixellib.data import IntensityPermutation
from pixellib.likelihoods import (
    Bernoulli,
    Categorical,
    CategoricalImages,
    DiscretizedLogistic,
    LogisticMixture,
    Permuted,
    PermutedImages,
)
from pixellib.models import GatedPixelCNN

HEADS = [Categorical(), DiscretizedLogistic(), LogisticMixture(3), LogisticMixture(3, "truncated")]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def params(likelihood, channels, size=(3, 2), dtype=torch.float32):
    return torch.randn(2, likelihood.num_params(channels), *size, generator=generator(), dtype=dtype)


def images(channels, size=(3, 2)):
    return torch.randint(256, (2, channels, *size), generator=generator(1), dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("head", HEADS)
def test_images_are_judged_and_drawn_as_their_symbols(head, channels):
    permutation = IntensityPermutation(seed=4)
    permuted, p, x = Permuted(head, permutation), params(head, channels), images(channels)
    assert (
        permuted.num_params(channels) == head.num_params(channels)
        and permuted.coupled_channels == head.coupled_channels
    )
    assert torch.equal(permuted.channel_index(channels), head.channel_index(channels))
    torch.testing.assert_close(permuted(p).log_prob(x), head(p).log_prob(permutation(x)))
    torch.testing.assert_close(permuted(p).log_prob_per_pixel(x).sum((1, 2)), permuted(p).log_prob(x))
    drawn = permuted(p).sample((3,), generator=generator())
    assert torch.equal(permutation(drawn), head(p).sample((3,), generator=generator()))
    of_x = permuted(p).conditional_log_pmf(x).gather(1, x.long().unsqueeze(1)).sum((1, 2, 3, 4))
    torch.testing.assert_close(of_x, permuted(p).log_prob(x), rtol=1e-4, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), window=st.integers(1, 256), head=st.sampled_from(HEADS))
def test_the_mass_of_all_levels_is_one_under_any_permutation(seed, window, head):
    permuted, p, x = Permuted(head, IntensityPermutation(256, seed, window)), params(head, 3), images(3)
    mass = permuted(p.double()).conditional_log_pmf(x).exp().sum(1)
    torch.testing.assert_close(mass, torch.ones_like(mass), atol=1e-9, rtol=0)


def test_the_mean_is_of_levels_not_of_symbols_and_for_one_channel():
    permuted = Permuted(LogisticMixture(3), IntensityPermutation(seed=2))
    d = permuted(params(permuted, 1))
    drawn = d.sample((4000,), generator=generator()).double()
    error = drawn.std(0) / 4000**0.5
    assert ((d.mean - drawn.mean(0)).abs() < 5 * error).all()
    with pytest.raises(NotImplementedError, match="mean of permuted images is for 1 channel, got 3"):
        _ = permuted(params(permuted, 3)).mean


def test_a_network_with_permuted_targets_samples_what_it_scores():
    torch.manual_seed(0)
    head = Permuted(LogisticMixture(2, "truncated", num_levels=8), IntensityPermutation(8, seed=1))
    model = GatedPixelCNN(1, (4, 3), num_layers=1, num_filters=8, kernel_size=3, likelihood=head, embedding=4).double()
    for options in ({}, {"temperature": 0.5}):
        fast, slow = (model.sample(3, generator=generator(), cached=cached, **options) for cached in (True, False))
        assert torch.equal(fast, slow) and int(fast.max()) < 8
    assert model.kind == "exact" and torch.isfinite(model.log_prob(fast)).all()


def test_a_permutation_of_other_levels_is_refused():
    with pytest.raises(ValueError, match="a likelihood of 256 levels needs as many symbols, got 8"):
        Permuted(Categorical(), IntensityPermutation(8))
    with pytest.raises(ValueError, match=r"permuted symbols must be all of 0\.\.7, got CategoricalImages"):
        PermutedImages(CategoricalImages(torch.zeros(1, 256, 1, 1)), IntensityPermutation(8))
    with pytest.raises(ValueError, match=r"permuted symbols must be all of 0\.\.255, got BernoulliImages"):
        Permuted(Bernoulli(), IntensityPermutation())(torch.zeros(1, 1, 2, 2))


def test_more_than_256_symbols_have_their_moments_too():
    d = Permuted(Categorical(512), IntensityPermutation(512, seed=1))(torch.zeros(1, 512, 2, 2))
    torch.testing.assert_close(d.mean, torch.full_like(d.mean, 255.5))
    assert d.cdf(torch.full((1, 1, 2, 2), 511)).eq(1).all()


def test_levels_may_be_integers_of_any_type_and_mapped_over():
    d, x = Permuted(Categorical(), IntensityPermutation(seed=1))(params(Categorical(), 1)), images(1)
    assert torch.equal(d.log_prob(x.long()), d.log_prob(x))
    assert torch.equal(torch.vmap(d.log_prob)(torch.stack([x, x]))[1], d.log_prob(x))
