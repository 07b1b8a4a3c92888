"""PixelVAE: its bound against another estimate, who sees what, and what it refuses."""

import math

import pytest
import torch
from toys import binary_images, likelihood_by_q, moved, unused_weights

from pixellib import GatedPixelCNN, LogisticMixture, PixelVAE, assert_causal


def small(**options) -> PixelVAE:
    """Images of 4 x 4 binary pixels, one vector of two latents; weights moved away from where they begin."""
    torch.manual_seed(0)
    options = {"num_latents": 2, "num_layers": 2, "num_filters": 8, "kernel_size": 3, **options}
    model = PixelVAE(1, (4, 4), **options)
    return moved(model)


@pytest.fixture
def x() -> torch.Tensor:
    return binary_images(5)


@pytest.mark.parametrize("spatial", [False, True])
@torch.no_grad()
def test_weights_have_the_mean_that_draws_from_the_prior_give(x, spatial):
    """E_q[w] = p(x) = E_p[p(x | z)]: a ratio of prior and q that is wrong would move one side alone."""
    model, many, generator = small(spatial=spatial), 2000, torch.Generator().manual_seed(2)
    by_q = likelihood_by_q(model, x, many, generator)
    for image, estimate in zip(x, by_q, strict=True):
        maps = model.decode(torch.randn((many, *model.latent_shape), generator=generator))
        log_likelihood = model.pixelcnn.log_prob(image.expand(many, 1, 4, 4), maps)
        assert estimate.item() == pytest.approx(log_likelihood.logsumexp(0).item() - math.log(many), abs=0.1)


@pytest.mark.parametrize("spatial", [False, True])
def test_pixels_see_z_and_the_pixels_before_them(x, spatial):
    model = small(spatial=spatial)
    maps = model.decode(model.encode(x).mean)
    assert maps.shape == (5, 8, 4, 4)
    assert_causal(model.pixelcnn, size=(4, 4), condition=maps[:1].detach())
    params = model.pixelcnn.params(x, maps)
    for output in (params[0, :, 0, 0].sum(), params[0, :, 3, 3].sum()):  # z reaches the first pixel and the last
        (gradient,) = torch.autograd.grad(output, maps, retain_graph=True)
        assert gradient[0].any() and not gradient[1:].any()


@torch.no_grad()
def test_cached_samples_are_those_of_whole_passes():
    model = small()
    z = torch.randn(3, 2)
    cached, naive = (
        model.sample(3, z=z, generator=torch.Generator().manual_seed(3), cached=cached, precision="fp32")
        for cached in (True, False)
    )
    assert cached.equal(naive) and cached.dtype == torch.uint8
    drawn, again = (model.sample(3, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert drawn.equal(again)


def test_loss_weighs_and_floors_the_kl(x):
    model = small(beta=0.5)
    with torch.no_grad():
        kl = model.kl_per_layer(x).mean().item()
        losses = {}
        for free_bits in (0.0, kl / 2, kl + 3):
            model.free_bits = free_bits
            torch.manual_seed(5)
            losses[free_bits] = model.loss(x).item()
    assert kl > 0 and losses[0.0] == pytest.approx(losses[kl / 2], abs=1e-4)
    assert losses[kl + 3] - losses[0.0] == pytest.approx(0.5 * 3, abs=1e-4)


def test_every_weight_learns(x):
    model = small()
    assert unused_weights(model, x) == []
    kernels = {id(p) for p in model.kernels()}
    assert id(model.pixelcnn.output_layer.weight) not in kernels and id(model.decoder[-2].weight) in kernels


def test_free_bits_keep_the_latent_in_use():
    """Every image is white noise of one of two densities, which a few pixels tell as well as z: without free bits the
    PixelCNN would learn that first, and q would stay at the prior. With log 2 nats of them, z says which.
    """
    torch.manual_seed(0)
    options = {"num_latents": 2, "num_layers": 1, "num_filters": 8, "kernel_size": 3}
    model = PixelVAE(1, (8, 8), free_bits=math.log(2), **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(250):
        dense = torch.randint(2, (32, 1, 1, 1))
        x = 255 * torch.bernoulli((0.8 * dense + 0.1).expand(-1, 1, 8, 8)).byte()
        optimizer.zero_grad()
        model.loss(x).backward()
        optimizer.step()
    assert model.kl_per_layer(x).mean() > 0.4
    mean, dense = model.encode(x).mean, dense.flatten().bool()
    assert (mean[dense].mean(0) - mean[~dense].mean(0)).abs().max() > 0.5


@torch.no_grad()
def test_colours():
    likelihood = LogisticMixture(2)
    model = PixelVAE(3, (8, 8), num_latents=3, spatial=True, num_layers=1, num_filters=12, likelihood=likelihood)
    x = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    assert model.encode(x).mean.shape == (2, 3, 2, 2) and model.log_weights(x, 2).shape == (2, 2)
    assert model.sample(1).shape == (1, 3, 8, 8) and model.kind == "lower bound"


def test_bad_input(x):
    for options, message in [
        ({"num_latents": -1}, "num_latents"),
        ({"num_latents": 0, "spatial": True}, "num_latents"),
        ({"num_layers": 0}, "num_layers"),
        ({"free_bits": -1.0}, "free_bits must be finite and not below zero, got -1.0"),
        ({"beta": -1.0}, "beta"),
        ({"beta": 0.5, "num_samples": 2}, "beta and free_bits are for num_samples=1, got 0.5 and 0.0 for 2"),
        ({"free_bits": 1.0, "num_samples": 2}, "beta and free_bits are for num_samples=1, got 1.0 and 1.0 for 2"),
        ({"depth": -1}, "depth"),
    ]:
        with pytest.raises(ValueError, match=message):
            small(**options)
    with pytest.raises(ValueError, match="multiples of 4"):
        PixelVAE(1, (6, 6))
    model = small()
    with pytest.raises(ValueError, match=r"expected latents \(B, 2\), got \(5, 3\)"):
        model.decode(torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"expected a map \(5, 8, 4, 4\), got \(5, 8, 2, 2\)"):
        model.pixelcnn.log_prob(x, torch.zeros(5, 8, 2, 2))
    with pytest.raises(ValueError, match=r"expected images \(B, 1, 4, 4\)"):
        model.log_weights(x[..., :3], 1)
    with pytest.raises(ValueError, match="num_samples"):
        model.log_weights(x, 0)
    with pytest.raises(ValueError, match="takes no condition"):
        model.log_prob(x, torch.zeros(5))
    with pytest.raises(ValueError, match="on a class or on a map, not on both"):
        GatedPixelCNN(1, (4, 4), num_classes=10, condition_channels=8)


def test_a_latent_that_the_encoder_ignores_is_not_active():
    model, x = small(), binary_images(50)
    last = model.encoder[-1]
    torch.nn.init.zeros_(last.weight[0])  # the mean of the first latent is its bias, whatever the image
    assert model.active_units(x) == 1
    torch.nn.init.zeros_(last.weight)
    assert model.active_units(x) == 0


@pytest.mark.filterwarnings("error")
def test_without_latents_it_is_a_pixelcnn_that_knows_places_and_its_likelihood_exact():
    torch.manual_seed(0)
    model = PixelVAE(1, (8, 8), num_latents=0, num_layers=2, num_filters=8, kernel_size=3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    x = 255 * torch.randint(2, (3, 1, 8, 8), dtype=torch.uint8)
    place = model.decode(torch.zeros(1, 0))
    assert place.std((2, 3)).min() > 0, "the map differs from place to place"
    with torch.no_grad():
        log_w, expected = model.log_weights(x, 2), model.pixelcnn.log_prob(x, place.expand(3, -1, -1, -1))
    torch.testing.assert_close(log_w, expected.expand(2, 3))
    assert model.kl_per_layer(x).abs().max() == 0 and model.active_units(x) == 0
    assert model.sample(2).shape == (2, 1, 8, 8) and model.kind == "exact"
