"""The ladder VAE: its bound against another estimate of the same likelihood, its layers, and what it refuses."""

import math

import pytest
import torch
from toys import binary_images, likelihood_by_q, moved, unused_weights

from pixellib import LadderVAE, LogisticMixture


def small(**options) -> LadderVAE:
    """Two sizes, three layers, images of 4 x 4 binary pixels; weights moved away from where they begin."""
    torch.manual_seed(0)
    model = LadderVAE(1, (4, 4), **{"num_layers": (2, 1), "num_latents": 2, "num_filters": 8, **options})
    return moved(model)


@pytest.fixture
def x() -> torch.Tensor:
    return binary_images(6)


@torch.no_grad()
def test_weights_have_the_mean_that_draws_from_the_prior_give(x):
    """E_q[w] = p(x) = E_p[p(x | z)]: a prior, a q or a ratio that disagree would move one side alone."""
    model, many, generator = small(), 4000, torch.Generator().manual_seed(2)
    by_q = likelihood_by_q(model, x, many, generator)
    for image, estimate in zip(x, by_q, strict=True):
        params, _ = model.draw(many, generator=generator)
        by_prior = model.likelihood(params).log_prob(image.expand(many, 1, 4, 4)).logsumexp(0) - math.log(many)
        assert estimate.item() == pytest.approx(by_prior.item(), abs=0.15)


@torch.no_grad()
def test_an_untrained_q_is_the_prior(x):
    """Then nothing is lost to the KL divergence when training begins, and no layer starts switched off."""
    model = LadderVAE(1, (4, 4), num_layers=(1, 1), num_latents=2, num_filters=8)
    assert model.kl_per_layer(x).abs().max() == 0
    _, draws = model.draw(6, model.features(x))
    assert all(draw.q.mean.abs().max() == 0 and (draw.q.stddev == 1).all() for draw in draws)


def test_kl_in_closed_form_is_the_mean_of_minus_the_log_ratio(x):
    model, generator = small(), torch.Generator().manual_seed(3)
    with torch.no_grad():
        _, draws = next(model.draws_from_q(x.repeat(2000, 1, 1, 1), 1, generator))
    for draw in draws:
        assert draw.kl.mean().item() == pytest.approx(-draw.log_ratio.mean().item(), abs=0.05, rel=0.05)


@torch.no_grad()
def test_more_samples_make_a_tighter_bound(x):
    model, generator = small(), torch.Generator().manual_seed(4)
    log_w = model.log_weights(x.repeat(500, 1, 1, 1), 2, generator).reshape(1000, len(x))
    bounds = [(log_w.unflatten(0, (-1, m)).logsumexp(1) - math.log(m)).mean() for m in (1, 10, 100)]
    assert bounds[0] < bounds[1] < bounds[2]


@torch.no_grad()
def test_loss_weighs_and_floors_each_layers_kl(x):
    """At the start the KL divergences are zero: free bits are then paid in full, once for each layer."""
    options = {"num_layers": (2, 1), "num_latents": 2, "num_filters": 8}
    torch.manual_seed(5)
    model = LadderVAE(1, (4, 4), free_bits=0.5, beta=2.0, **options)
    torch.manual_seed(6)
    loss = model.loss(x)
    model.free_bits = 0.0
    torch.manual_seed(6)
    assert loss.item() - model.loss(x).item() == pytest.approx(2 * 3 * 0.5, abs=1e-5)


def test_every_weight_learns(x):
    model = small()
    assert unused_weights(model, x) == []


def test_the_latents_find_what_pixels_share():
    """Images are black or white: 16 log 2 nats with independent pixels, log 2 if z tells which."""
    torch.manual_seed(0)
    model = LadderVAE(1, (4, 4), num_layers=(1, 1), num_latents=2, num_filters=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(200):
        x = (255 * torch.randint(2, (32, 1, 1, 1), dtype=torch.uint8)).expand(-1, 1, 4, 4)
        optimizer.zero_grad()
        model.loss(x).backward()
        optimizer.step()
    assert -model.log_prob(x).mean() < 2.5
    samples = model.sample(200).float().mean((1, 2, 3)) / 255
    assert ((samples < 0.2) | (samples > 0.8)).float().mean() > 0.8


@torch.no_grad()
def test_given_latents_are_kept_and_the_rest_is_drawn(x):
    model = small()
    latents = model.encode(x)
    assert model.decode(latents).equal(model.decode(latents))  # nothing is left to draw
    assert not model.decode(latents[:1]).equal(model.decode(latents[:1]))
    _, draws = model.draw(6, given=latents[:2])
    assert draws[0].z is latents[0] and draws[1].z is latents[1]


@torch.no_grad()
def test_draws_repeat_with_the_generator(x):
    model = small()
    first, again = (model.log_weights(x, 3, torch.Generator().manual_seed(7)) for _ in range(2))
    assert first.equal(again)
    first, again = (model.sample(3, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert first.equal(again) and first.shape == (3, 1, 4, 4) and first.dtype == torch.uint8


@torch.no_grad()
def test_colours_and_sizes():
    model = LadderVAE(3, (8, 16), num_layers=(1, 1, 1), num_filters=8, likelihood=LogisticMixture(2))
    x = torch.randint(256, (2, 3, 8, 16), dtype=torch.uint8)
    assert [z.shape[2:] for z in model.encode(x)] == [(1, 2), (2, 4), (4, 8)]
    assert model.log_prob(x).shape == (2,) and model.kind == "lower bound"


def test_bad_input(x):
    for options, message in [
        ({"size": (6, 6)}, "multiples of 4"),
        ({"num_layers": ()}, "the length of num_layers"),
        ({"num_layers": (1, 0)}, r"num_layers\[1\]"),
        ({"num_latents": 0}, "num_latents"),
        ({"free_bits": -0.1}, "free_bits must be finite and not below zero, got -0.1"),
        ({"free_bits": math.inf}, "free_bits"),
        ({"beta": 0.0}, "beta"),
    ]:
        with pytest.raises(ValueError, match=message):
            small(**options) if "size" not in options else LadderVAE(1, **options, num_layers=(1, 1))
    model = small()
    with pytest.raises(ValueError, match=r"expected images \(B, 1, 4, 4\)"):
        model.log_weights(x[..., :3], 1)
    with pytest.raises(ValueError, match="num_samples"):
        model.log_weights(x, 0)
    with pytest.raises(ValueError, match=r"expected z \(6, 2, 1, 1\), got \(6, 2, 2, 2\)"):
        model.decode([torch.zeros(6, 2, 2, 2)])
    with pytest.raises(ValueError, match="latents of 4 layers; there are 3"):
        model.decode([torch.zeros(6, 2, 1, 1)] * 4)
    with pytest.raises(ValueError, match="at least one layer"):
        model.decode([])
    with pytest.raises(ValueError, match="takes no condition"):
        model.sample(2, condition=torch.zeros(2))
