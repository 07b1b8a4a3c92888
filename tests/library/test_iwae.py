"""The importance-weighted autoencoder bounds what it says it bounds: checked against integrals, not against itself."""

import itertools
import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from pixellib.data.transforms import scale
from pixellib.models import IWAE

# The 16 binary images of 2 x 2 pixels: few enough to sum over all of them.
ALL = torch.tensor(list(itertools.product((0, 255), repeat=4)), dtype=torch.uint8).view(16, 1, 2, 2)
STANDARD = Normal(torch.zeros((), dtype=torch.float64), 1.0)


def tiny(num_latents, shape=(1, 2, 2), num_samples=1):
    """A small float64 model whose posteriors are far from its encoder, which is wide enough to cover them."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = IWAE(shape[0], shape[1:], num_latents, (6,) * len(num_latents), num_samples).double()
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.mul_({"encoders": 0.5, "decoders": 1.0}[name[:8]]).add_(0.2 * torch.randn_like(p))
            for p in model.decoders[0].parameters():
                p.mul_(2)
            for networks, log_std in ((model.encoders, 0.3), (model.decoders[1:], -0.4)):
                for last in (network[-1] for network in networks):
                    mean = len(last.bias) // 2
                    last.weight[mean:] *= 0.3
                    last.bias[mean:] = log_std
    return model


def gaussian(network, given):
    mean, log_std = network(given).chunk(2, -1)
    return Independent(Normal(mean, log_std.exp()), 1)


def pixels(model, z):
    return Independent(Bernoulli(logits=model.decoders[0](z)), 1)


def grid(dimensions, half_width=8.0, points=321):
    """Points (N, D) of a regular grid and the logarithm of the volume of its cells."""
    axis = torch.linspace(-half_width, half_width, points, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * dimensions).view(-1, dimensions), dimensions * (axis[1] - axis[0]).log()


def integrated_log_likelihood(model, x):
    """log p(x) (B,) by integrating the latents out on a grid: nothing of the encoder, nothing drawn."""
    ones = (x == 255).flatten(1).double()
    z, log_volume = grid(sum(model.num_latents))
    z = z.split(model.num_latents, -1)
    log_prior = STANDARD.log_prob(z[-1]).sum(-1)
    for below, above, decoder in zip(z[:-1], z[1:], model.decoders[1:], strict=True):
        log_prior = log_prior + gaussian(decoder, above).log_prob(below)
    # (N, B), one image at a time to keep it small
    log_joint = [pixels(model, z[0]).log_prob(one) + log_prior for one in ones]
    return torch.stack([row.logsumexp(0) + log_volume for row in log_joint])


@pytest.mark.parametrize("num_latents", [(3,), (4, 2)])
@torch.no_grad()
def test_log_weights_are_log_p_of_x_and_z_less_log_q(num_latents):
    """Written again with torch.distributions, constants and all, from the same noise."""
    model, x = tiny(num_latents, (1, 4, 5)), ALL.repeat(1, 1, 2, 3)[..., :5]
    model.initialise(x)
    log_w = model.log_weights(x, 7, torch.Generator().manual_seed(1))

    noise, given = torch.Generator().manual_seed(1), (scale(x) - model.centre).flatten(1)
    expected, drawn = 0, []
    for size, encoder in zip(num_latents, model.encoders, strict=True):
        q = gaussian(encoder, given)
        given = q.base_dist.loc + q.base_dist.scale * torch.randn((7, 16, size), generator=noise, dtype=torch.float64)
        drawn.append(given)
        expected = expected - q.log_prob(given)
    for below, above, decoder in zip(drawn[:-1], drawn[1:], model.decoders[1:], strict=True):
        expected = expected + gaussian(decoder, above).log_prob(below)
    expected = expected + STANDARD.log_prob(drawn[-1]).sum(-1)
    expected = expected + pixels(model, drawn[0]).log_prob((x == 255).flatten(1).double())

    assert log_w.shape == (7, 16) and log_w.dtype == torch.float64
    torch.testing.assert_close(log_w, expected, atol=1e-10, rtol=1e-12)


@pytest.mark.parametrize("num_latents", [(1,), (2,), (1, 1)])
@torch.no_grad()
def test_with_many_samples_the_bound_is_the_log_likelihood(num_latents):
    """Against the integral, within five standard errors, which are below 0.02 nats; the ELBO is far below it."""
    model = tiny(num_latents)
    exact = integrated_log_likelihood(model, ALL)
    torch.testing.assert_close(exact.logsumexp(0), torch.zeros((), dtype=torch.float64), atol=1e-10, rtol=0)
    log_w = model.log_weights(ALL, 40_000, torch.Generator().manual_seed(0))
    bound = log_w.logsumexp(0) - math.log(len(log_w))
    error = (log_w - bound).exp().std(0) / math.sqrt(len(log_w))
    assert error.max() < 0.02
    assert ((bound - exact).abs() < 5 * error).all()
    assert (exact - log_w.mean(0)).min() > 10 * error.max(), "an ELBO this tight could not be told from log p(x)"


@torch.no_grad()
def test_one_sample_is_the_elbo():
    """Its expectation is E_q[log p(x|z)] - KL(q || p), the first by quadrature and the second in closed form."""
    model, x = tiny((1,)), ALL[6:7]
    q = Normal(*model.encode(x))
    z, log_volume = grid(1)
    reconstruction = (q.log_prob(z).exp()[:, 0] * pixels(model, z).log_prob((x == 255).flatten(1).double())).sum()
    elbo = reconstruction * log_volume.exp() - kl_divergence(q, STANDARD).squeeze()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = model.log_prob(x.expand(100_000, -1, -1, -1))
    assert abs(draws.mean() - elbo) < 4 * draws.std() / math.sqrt(len(draws))


@torch.no_grad()
def test_more_samples_tighten_the_bound():
    """Theorem 1 of the paper, on independent draws: each step up is many standard errors, and none passes log p(x)."""
    x = ALL[9:10].expand(4000, -1, -1, -1)
    exact = integrated_log_likelihood(tiny((2,)), x[:1])
    last = torch.tensor(-torch.inf)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for num_samples in (1, 3, 10, 30):
            bound = tiny((2,), num_samples=num_samples).log_prob(x)
            error = bound.std() / math.sqrt(len(bound))
            assert bound.mean() - last > 4 * error
            last = bound.mean()
            assert last < exact + 4 * error


@pytest.mark.parametrize("num_latents", [(3,), (3, 2)])
def test_the_gradient_weighs_each_sample_by_its_share(num_latents):
    """Equation (13): the gradient of the bound is the sum of the log-weights' gradients, weighted by softmax(log w)."""
    model = tiny(num_latents, num_samples=6)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        automatic = torch.autograd.grad(model.loss(ALL), model.parameters())
        torch.manual_seed(2)
        log_w = model.log_weights(ALL, 6)
    share = log_w.detach().softmax(0)
    by_hand = torch.autograd.grad(-(share * log_w).sum(0).mean(), model.parameters())
    torch.testing.assert_close(automatic, by_hand)


@pytest.mark.parametrize("num_latents", [(2,), (1, 1)])
def test_samples_are_drawn_from_what_is_scored(num_latents):
    """The frequencies of all 16 images against their integrated probabilities."""
    model = tiny(num_latents)
    with torch.no_grad():
        p = integrated_log_likelihood(model, ALL).exp()
    x = model.sample(40_000, generator=torch.Generator().manual_seed(0))
    frequencies = (x[:, None] == ALL).flatten(2).all(2).double().mean(0)
    torch.testing.assert_close(frequencies.sum(), p.sum(), atol=1e-6, rtol=0)
    assert ((frequencies - p).abs() < 4.5 * (p * (1 - p) / 40_000).sqrt()).all()


@pytest.mark.parametrize("num_latents", [(5,), (4, 3)])
def test_samples_are_images_and_repeat_with_a_generator(num_latents):
    model = IWAE(3, (8, 6), num_latents, (10,) * len(num_latents))
    first, again, other = (model.sample(5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == (5, 3, 8, 6) and first.dtype == torch.uint8 and set(first.unique().tolist()) == {0, 255}
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_log_weights_leave_the_global_generator_alone_if_given_one():
    model, before = tiny((4, 2)), torch.get_rng_state()
    first, again = (model.log_weights(ALL, 3, torch.Generator().manual_seed(1)) for _ in range(2))
    model.sample(3, generator=torch.Generator())
    assert torch.equal(first, again) and torch.equal(before, torch.get_rng_state())


def test_initialising_centres_the_input_and_starts_at_the_mean_image(digits):
    """Before the first step, pixels are as likely as in the data, and the encoder sees a mean of zero."""
    model = IWAE()
    model.initialise(digits)
    mean = digits.double().mean(0)
    inner = (mean > 1) & (mean < 254)
    bias = model.decoders[0][-1].bias.detach().view(1, 28, 28)
    torch.testing.assert_close((255 * bias.sigmoid())[inner], mean[inner].float(), atol=1e-3, rtol=0)
    assert bias[mean == 0].max().item() == pytest.approx(math.log(1e-3 / (1 - 1e-3)), abs=1e-4), "never certain"
    torch.testing.assert_close((scale(digits) - model.centre).mean(0), torch.zeros(1, 28, 28), atol=1e-5, rtol=0)


def test_bfloat16_networks_give_float32_log_weights_close_to_float32_ones(digits):
    """Networks in bfloat16, everything that is summed in float32: the bound moves by a small part of a nat."""
    model, x = IWAE(), (digits[:100] > 127).byte() * 255
    model.initialise(digits)
    with torch.no_grad():
        exact = model.log_weights(x, 20, torch.Generator().manual_seed(0))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model.log_weights(x, 20, torch.Generator().manual_seed(0))
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    assert (rounded.logsumexp(0) - exact.logsumexp(0)).mean().abs() < 0.1


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="one hidden width per stochastic layer: got 1 for 2"):
        IWAE(num_latents=(100, 50), num_hidden=(200,))
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        IWAE(num_samples=0)
    with pytest.raises(ValueError, match=r"num_hidden\[0\] must be at least 1, got 0"):
        IWAE(num_hidden=(0,))
    with pytest.raises(ValueError, match=r"num_latents\[0\] must be an integer, got 2.5"):
        IWAE(num_latents=(2.5,))


def test_kl_per_layer_sums_to_minus_the_mean_log_ratio_and_a_standard_q_costs_nothing():
    """Also where the layers know much of each other: each layer's term needs the z that the one above was drawn for."""
    model, x, generator = tiny((2, 3)), ALL.repeat(4000, 1, 1, 1), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for network in (model.encoders[1], model.decoders[1]):
            network[-1].weight.mul_(4)
    kl = model.kl_per_layer(x, generator)
    assert kl.shape == (2, len(x)) and (kl[0] >= 0).all()
    with torch.no_grad():
        _, log_ratio = model.log_terms(x, 1, generator)
    assert kl.sum(0).mean().item() == pytest.approx(-log_ratio.mean().item(), rel=0.02)
    for network in (*model.encoders, *model.decoders[1:]):
        for p in network[-1].parameters():
            torch.nn.init.zeros_(p)
    assert model.kl_per_layer(ALL).abs().max() == 0


def test_a_unit_is_active_if_its_mean_moves_with_the_image():
    model = tiny((3,))
    last = model.encoders[0][-1]
    torch.nn.init.zeros_(last.weight[0])  # its mean is the bias, whatever the image
    assert model.active_units(ALL) == 2
    torch.nn.init.zeros_(last.weight)
    assert model.active_units(ALL) == 0
