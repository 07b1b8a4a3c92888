"""Discrete codes: nearest ones are chosen, a training uses many of them, and the bound is one."""

import math

import pytest
import torch

from pixellib import data
from pixellib.likelihoods import Categorical, DiscretizedLogistic, Gaussian, GreyBernoulli
from pixellib.models import VQVAE
from pixellib.training import Settings, fit


def build(**options):
    torch.manual_seed(0)
    return VQVAE(1, (8, 8), **{"num_codes": 5, "code_size": 3, "num_filters": 8, **options})


def images(num=4):
    return torch.randint(256, (num, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_an_image_becomes_the_nearest_codes_and_they_an_image():
    model, x = build().double(), images()
    codes = model.encode(x)
    assert codes.dtype == torch.uint8 and codes.shape == (4, 1, 2, 2)
    features = model._features(x).movedim(1, -1).flatten(0, -2)
    assert torch.equal(codes.flatten().long(), torch.cdist(features, model.codebook.weight).argmin(1))
    assert model.decode(codes).shape == (4, model.likelihood.num_params(1), 8, 8)
    assert model.sample(3).shape == (3, 1, 8, 8)


def test_autocasting_does_not_change_which_code_is_nearest():
    model = build(num_codes=64)
    features = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) / 10 + 1
    model.codebook.weight.data = features.movedim(1, -1).flatten(0, -2)[:64]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model._nearest(features)
    assert torch.equal(rounded, model._nearest(features)) and rounded.unique().numel() == 64


def test_the_bound_is_below_the_sum_over_all_codes():
    """With few codes log p(x) can be computed: log of the mean over every possible z."""
    model, x = build(num_codes=3, likelihood=Categorical()).double(), images(2)
    every = torch.cartesian_prod(*[torch.arange(3)] * 4).view(81, 1, 2, 2)
    with torch.no_grad():
        by_code = model.likelihood(model.decode(every)).log_prob(x.unsqueeze(1))
        exact = by_code.logsumexp(1) - math.log(81)
        bound = model.log_prob(x)
    assert (bound < exact).all()
    at_its_own = model.likelihood(model.decode(model.encode(x))).log_prob(x)
    torch.testing.assert_close(bound, at_its_own - math.log(81))


def test_the_gradient_skips_the_choice_and_the_codes_follow_the_features():
    model, x = build(commitment=0.0), images()
    model.loss(x).backward()
    assert model.encoder[0].weight.grad.abs().sum() > 0, "the decoder's wishes reach the encoder"
    features = model._features(x)
    nearest = model._nearest(features)
    pull = torch.zeros(5, 3)
    pull.index_add_(0, nearest.flatten(), (model._vectors(nearest) - features).movedim(1, -1).flatten(0, -2))
    torch.testing.assert_close(model.codebook.weight.grad, 2 * pull.detach() / len(x))


def test_a_training_improves_the_bound_and_uses_many_codes():
    digits = data.load("mnist", "train")[0][:2000]
    model = VQVAE(num_codes=32, code_size=8, num_filters=8, likelihood=DiscretizedLogistic())
    settings = Settings(
        steps=120, batch_size=50, learning_rate=3e-3, ema_decay=0.9, max_grad_norm=1000.0, validate_every=40
    )
    history = fit(model, digits, settings, validation=digits[:100], device="cpu", progress=False).history
    assert history[-1]["validation_bits"] < history[0]["validation_bits"]
    with torch.no_grad():
        used = model.encode(digits[:500]).flatten().bincount(minlength=32)
    assert (used > 0).sum() >= 16


def test_impossible_sizes_are_refused():
    for options, complaint in (
        ({"size": (6, 8)}, r"multiples of 4, got \(6, 8\)"),
        ({"num_codes": 300}, r"num_codes must be in 2\.\.256, got 300"),
        ({"code_size": 0}, "code_size must be at least 1, got 0"),
        ({"num_filters": -1}, "num_filters must be at least 1, got -1"),
        ({"commitment": math.nan}, "commitment must be finite and not negative, got nan"),
        ({"commitment": -1.0}, "commitment must be finite and not negative, got -1.0"),
    ):
        with pytest.raises(ValueError, match=complaint):
            VQVAE(**options)


def test_kind_says_what_the_number_is():
    """A bound of a density is no bound of a mass, and one of a cross-entropy on grey values is none at all."""
    kinds = [build(likelihood=head).kind for head in (Categorical(), Gaussian(), GreyBernoulli())]
    assert kinds == ["lower bound", "density", "improper"]
