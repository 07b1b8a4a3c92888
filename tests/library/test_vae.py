"""The convolutional VAE: its weights by definition, its beta, its sizes, and every likelihood under it."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from pixellib.data.transforms import scale
from pixellib.likelihoods import Categorical, DiscretizedLogistic, Gaussian, GreyBernoulli, LogisticMixture
from pixellib.models import VAE
from pixellib.training import Settings, fit

LIKELIHOODS = [GreyBernoulli(), Gaussian(), DiscretizedLogistic(), LogisticMixture(3), Categorical()]


def small(shape=(3, 8, 8), seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VAE(
            shape[0], shape[1:], **{"num_latents": (4,), "num_filters": 8, "likelihood": LogisticMixture(2), **options}
        )


def images(*shape):
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def gaussian(network, given):
    mean, log_std = network(given).chunk(2, -1)
    return Independent(Normal(mean, log_std.exp()), 1)


@pytest.mark.parametrize("num_latents", [(4,), (4, 3), (4, 3, 2)])
@torch.no_grad()
def test_log_weights_are_log_p_of_x_and_z_less_log_q(num_latents):
    """Written again with torch.distributions, from the same noise."""
    model, x = small(num_latents=num_latents, depth=1).double(), images(2, 3, 8, 8)
    log_w = model.log_weights(x, 5, torch.Generator().manual_seed(1))
    noise, given, drawn, expected = torch.Generator().manual_seed(1), scale(x).double(), [], 0
    for size, encoder in zip(num_latents, model.encoders, strict=True):
        q = gaussian(encoder, given)
        given = q.base_dist.loc + q.base_dist.scale * torch.randn((5, 2, size), generator=noise, dtype=torch.float64)
        expected = expected - q.log_prob(given)
        drawn.append(given)
    for below, above, decoder in zip(drawn[:-1], drawn[1:], model.decoders[1:], strict=True):
        expected = expected + gaussian(decoder, above).log_prob(below)
    expected = expected + Normal(0.0, 1.0).log_prob(drawn[-1]).sum(-1)
    for m in range(5):
        pixels = model.likelihood(model.decoders[0](drawn[0][m])).log_prob(x)
        torch.testing.assert_close(log_w[m], expected[m] + pixels, atol=1e-9, rtol=1e-12)


@pytest.mark.parametrize("num_samples", [1, 3])
def test_beta_weighs_the_divergence_in_the_loss_and_never_in_the_bound(num_samples):
    model, plain = (small(num_samples=num_samples, beta=beta) for beta in (4.0, 1.0))
    x = images(2, 3, 8, 8)
    torch.manual_seed(0)
    loss = model.loss(x)
    torch.manual_seed(0)
    log_likelihood, log_ratio = model.log_terms(x, num_samples)
    expected = -((log_likelihood + 4 * log_ratio).logsumexp(0) - math.log(num_samples)).mean()
    torch.testing.assert_close(loss, expected)
    bounds = []
    for each in (model, plain):
        torch.manual_seed(0)
        bounds.append(each.log_prob(x))
    torch.testing.assert_close(*bounds)
    torch.manual_seed(0)
    torch.testing.assert_close(plain.loss(x), -bounds[1].mean())


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=lambda likelihood: type(likelihood).__name__)
@pytest.mark.parametrize(("shape", "num_latents"), [((1, 28, 28), (20,)), ((3, 32, 32), (20, 10))])
def test_every_likelihood_fits_both_sizes(likelihood, shape, num_latents):
    model = VAE(shape[0], shape[1:], num_latents=num_latents, num_filters=16, likelihood=likelihood, num_samples=2)
    x = images(2, *shape)
    model.loss(x).backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in model.parameters())
    assert model.log_prob(x).shape == (2,)
    drawn = model.sample(2, generator=torch.Generator().manual_seed(0))
    assert drawn.shape == x.shape and drawn.dtype == torch.uint8
    assert torch.equal(drawn, model.sample(2, generator=torch.Generator().manual_seed(0)))


def test_kind_says_what_the_number_is():
    kinds = {type(likelihood).__name__: small(likelihood=likelihood).kind for likelihood in LIKELIHOODS}
    assert kinds.pop("Gaussian") == "density" and kinds.pop("GreyBernoulli") == "improper"
    assert set(kinds.values()) == {"lower bound"}


def test_pixels_one_apart_have_seen_different_features():
    """The last convolution has stride 1: without it, all parameters of a 2 x 2 block come from one place."""
    model = small().eval()
    with torch.no_grad():
        params = model.decode(torch.randn(1, 4, generator=torch.Generator().manual_seed(0)))
    assert (params[..., 0::2] - params[..., 1::2]).abs().min() > 0


def test_training_lowers_the_loss_on_real_digits(digits):
    model = VAE(1, (28, 28), num_latents=(8,), num_filters=8, likelihood=DiscretizedLogistic())
    history = fit(model, digits, Settings(steps=60, batch_size=32, learning_rate=3e-3, validate_every=20)).history
    losses = [row["train_bits"] for row in history]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"size": (30, 28)}, r"height and width must be multiples of 4, got \(30, 28\)"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"num_filters": 0}, "num_filters must be at least 1, got 0"),
        ({"num_latents": (4, 0)}, r"num_latents\[1\] must be at least 1, got 0"),
        ({"num_latents": ()}, "the length of num_latents must be at least 1, got 0"),
        ({"depth": -1}, "depth must be at least 0, got -1"),
        ({"beta": 0.0}, "beta must be positive and finite, got 0.0"),
        ({"beta": math.nan}, "beta must be positive and finite, got nan"),
        ({"beta": math.inf}, "beta must be positive and finite, got inf"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        VAE(**options)
