"""Flows: every layer undoes itself and knows its determinant; the masses of all images sum to one."""

import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pixellib import Flow, assert_invertible
from pixellib.evaluation import m_sample_bound
from pixellib.models.flows.dequantisation import UniformDequantisation, VariationalDequantisation, logit_transform
from pixellib.models.flows.flow import Scale
from pixellib.models.flows.layers import AffineCoupling, GatedConvNet, Squeeze, channel_mask, checkerboard_mask

ROOT = Path(__file__).resolve().parents[2]
MULTI = {"num_couplings": (2, 2, 4), "num_filters": (32, 48, 64)}


def stir(module, std=0.1):
    """Give every weight a value: an untrained flow is the identity, which hides mistakes."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn(p.shape, generator=generator))
    return module


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def images(*shape, num_levels=256):
    return torch.randint(num_levels, shape, generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


def coupling(channels, mask, extra=0):
    return stir(AffineCoupling(GatedConvNet(channels + extra, 2 * channels, 8), mask, channels))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (coupling(1, checkerboard_mask(4, 6)), (1, 4, 6)),
        (coupling(1, checkerboard_mask(4, 6, invert=True)), (1, 4, 6)),
        (coupling(4, channel_mask(4)), (4, 2, 3)),
        (coupling(4, channel_mask(4, invert=True)), (4, 2, 3)),
        (Squeeze(), (2, 4, 6)),
    ],
)
def test_layers_are_undone_and_know_their_determinant(layer, shape):
    assert_invertible(layer, noise(3, *shape))


def test_a_coupling_sees_its_condition():
    layer, z, condition = coupling(1, checkerboard_mask(4, 4), extra=1), noise(3, 1, 4, 4), noise(3, 1, 4, 4)
    assert_invertible(layer, z, condition=condition)
    assert not torch.allclose(layer(z, condition)[0], layer(z, -condition)[0])


def test_a_coupling_changes_only_what_is_masked_out():
    mask = checkerboard_mask(4, 4)
    layer, z = coupling(1, mask), noise(2, 1, 4, 4)
    changed = (layer(z)[0] != z).float().amax(0, keepdim=True)
    torch.testing.assert_close(changed, 1 - mask)


class TheWholeFlow(nn.Module):
    """to_latent and from_latent as a layer and its inverse."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, reals):
        return self.flow.to_latent(reals)

    def inverse(self, z):
        return self.flow.from_latent(z)


@pytest.mark.parametrize("options", [{}, {"num_couplings": (2, 2, 2), "num_filters": (8, 8, 8)}])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_whole_flow_is_undone_and_knows_its_determinant(options, channels):
    flow = stir(Flow(channels, (8, 8), **{"num_couplings": (3,), "num_filters": (8,), **options}), std=0.05)
    assert_invertible(TheWholeFlow(flow), noise(2, channels, 8, 8))


class Leaky(nn.Module):
    """Not invertible: what lies below -1 becomes -1."""

    def forward(self, z):
        return z.clamp(min=-1), z.new_zeros(len(z))

    def inverse(self, z):
        return z


class Doubles(Leaky):
    """Invertible, but its determinant is not one."""

    def forward(self, z):
        return 2 * z, z.new_zeros(len(z))

    def inverse(self, z):
        return z / 2


@pytest.mark.parametrize(
    ("layer", "complaint"), [(Leaky(), "the inverse is off by up to"), (Doubles(), "the log-determinant is off by 11")]
)
def test_broken_layers_are_caught(layer, complaint):
    with pytest.raises(AssertionError, match=complaint):
        assert_invertible(layer, noise(3, 1, 4, 4))


@pytest.mark.parametrize(
    ("options", "num_parameters"),
    [
        ({}, 556_312),
        (MULTI, 1_639_742),
        ({"num_dequantisation_couplings": 4}, 628_388),
        ({**MULTI, "num_dequantisation_couplings": 4}, 1_711_818),
    ],
)
def test_the_four_flows_of_the_tutorial_have_its_numbers_of_parameters(options, num_parameters):
    assert sum(p.numel() for p in Flow(**options).parameters()) == num_parameters


@pytest.mark.parametrize("dequantisation", [0, 2])
def test_the_estimated_masses_of_all_images_sum_to_one(dequantisation):
    """2 x 2 images of 4 levels: the mean of the importance weights estimates each of 256 masses without bias."""
    flow = Flow(
        1, (2, 2), num_couplings=(2, 2), num_filters=(8, 8), num_dequantisation_couplings=dequantisation,
        num_dequantisation_filters=8, num_levels=4,
    )  # fmt: skip
    flow = stir(flow, std=0.05)
    x = torch.tensor(list(itertools.product(range(4), repeat=4)), dtype=torch.uint8).view(256, 1, 2, 2)
    with torch.no_grad():
        weights = flow.log_weights(x, 1000, torch.Generator().manual_seed(0)).double().exp()
    masses, variances = weights.mean(0), weights.var(0) / len(weights)
    error = variances.sum().sqrt().item()
    assert error < 0.01, f"a test that could not fail: {error}"
    assert abs(masses.sum().item() - 1) < 4 * error
    drawn = flow.sample(20_000, generator=torch.Generator().manual_seed(3)).flatten(1).long()
    shares = (drawn @ torch.tensor([64, 16, 4, 1])).bincount(minlength=256) / len(drawn)
    errors = (variances + shares / len(drawn)).sqrt() + 1e-4
    assert ((shares - masses).abs() < 5 * errors).all(), "samples follow these masses"


@pytest.mark.parametrize(
    "dequantisation", [UniformDequantisation(), stir(VariationalDequantisation(1, (2, 2), 3, 8), 0.2)]
)
def test_noise_has_the_density_that_is_said(dequantisation):
    """The mean of 1 / q under q is the volume of the unit cube."""
    x = images(1, 1, 2, 2).expand(50_000, 1, 2, 2)
    with torch.no_grad():
        u, log_q = dequantisation(x, 256, torch.Generator().manual_seed(0))
    assert u.shape == x.shape and u.min() >= 0 and u.max() <= 1
    inverse = (-log_q).double().exp()
    assert abs(inverse.mean().item() - 1) < 5 * inverse.std().item() / len(x) ** 0.5 + 1e-6


def test_variational_noise_begins_uniform_and_can_depend_on_the_image():
    dequantisation, x = VariationalDequantisation(1, (4, 4), 2, 8), images(64, 1, 4, 4)
    u, log_q = dequantisation(x, 256, torch.Generator().manual_seed(0))
    torch.testing.assert_close(u, torch.rand(u.shape, generator=torch.Generator().manual_seed(0)), atol=1e-5, rtol=0)
    torch.testing.assert_close(log_q, torch.zeros(64), atol=1e-3, rtol=0)
    stir(dequantisation, 0.3)
    levels = [torch.full_like(x, level) for level in (0, 127, 128, 255)]  # 2 x would not fit into uint8
    drawn = [dequantisation(level, 256, torch.Generator().manual_seed(0))[0] for level in levels]
    for one, other in itertools.combinations(drawn, 2):
        assert (one - other).abs().mean() > 1e-4


def test_the_change_of_variables_on_a_flow_whose_mass_is_known():
    """Without couplings' effect, pixels are sigmoids of Gaussians: the mass of a level is a difference of two erfs."""
    flow, levels = Flow(1, (1, 1), num_couplings=(1,), num_filters=(4,), num_levels=8), torch.arange(8).view(8, 1, 1, 1)
    edges = logit_transform()(torch.arange(9) / 8).double()
    masses = torch.distributions.Normal(0.0, 1.0).cdf(edges).diff()
    with torch.no_grad():
        bound = m_sample_bound(flow, levels, 20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(bound.exp().double(), masses, atol=5e-3, rtol=0.02)


def test_the_bound_tightens_with_more_samples():
    flow, x = stir(Flow(1, (4, 4), (2,), (8,)), 0.3), images(50, 1, 4, 4)
    with torch.no_grad():
        bounds = [m_sample_bound(flow, x, m, torch.Generator().manual_seed(0)).mean().item() for m in (1, 10, 300)]
    assert bounds[0] < bounds[1] < bounds[2]


@pytest.mark.parametrize("options", [{}, MULTI])
def test_images_survive_their_latents(options):
    flow, x = stir(Flow(**options), 0.02), images(4, 1, 28, 28)
    with torch.no_grad():
        z = flow.encode(x, torch.Generator().manual_seed(0))
        assert z.shape == (4, 784)
        torch.testing.assert_close(flow.to_latent(flow.from_latent(z))[0], z, atol=1e-4, rtol=0)
        assert torch.equal(flow.decode(z), x)
        path = flow.interpolate(x, x.flip(0), num_steps=3, generator=torch.Generator().manual_seed(0))
    assert path.shape == (3, 4, 1, 28, 28) and path.dtype == torch.uint8
    assert (path[0] != x).float().mean() < 1e-3 and (path[2] != x.flip(0)).float().mean() < 1e-3


def test_samples_are_repeatable_images():
    flow = stir(Flow(3, (8, 8), (1, 1), (4, 4)), 0.1)
    x = flow.sample(5, generator=torch.Generator().manual_seed(0))
    assert x.shape == (5, 3, 8, 8) and x.dtype == torch.uint8
    assert torch.equal(x, flow.sample(5, generator=torch.Generator().manual_seed(0)))


def test_log_prob_is_the_bound_that_is_trained():
    flow, x = Flow(1, (4, 4), (1,), (4,), num_samples=7), images(3, 1, 4, 4)
    torch.manual_seed(0)
    log_p = flow.log_prob(x)
    torch.manual_seed(0)
    expected = flow.log_weights(x, 7).logsumexp(0) - math.log(7)
    torch.testing.assert_close(log_p, expected)
    assert flow.kind == "lower bound"


def test_half_of_the_channels_leave_between_squeezes():
    scale = Scale((2, 4, 4), 2, 8, squeeze=True, split=True)
    stays, leaves, _ = scale(noise(1, 2, 4, 4))
    assert stays.shape == leaves.shape == (1, 4, 2, 2)


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: Flow(1, (7, 8), (1, 1), (4, 4)), "height and width must be multiples of 2, got"),
        (lambda: Flow(1, (6, 6), (1, 1, 1), (4, 4, 4)), "height and width must be multiples of 4, got"),
        (lambda: Flow(num_couplings=(1, 2), num_filters=(4,)), "must name the same scales"),
        (lambda: Flow(num_couplings=(), num_filters=()), "must name the same scales"),
        (lambda: Flow(num_couplings=(0,)), r"num_couplings\[0\] must be at least 1, got 0"),
        (lambda: Flow(num_samples=0), "num_samples must be at least 1, got 0"),
        (lambda: Flow(num_levels=257), "num_levels must be in 2..256, got 257"),
        (lambda: Flow(1, (4, 4)).log_weights(images(2, 1, 4, 4), 0), "num_samples must be at least 1, got 0"),
        (lambda: Flow(1, (4, 4)).log_prob(images(2, 1, 4, 5)), "expected images"),
        (lambda: Flow(1, (4, 4)).log_prob(torch.rand(2, 1, 4, 4)), "expected images of integers"),
        (lambda: Flow(1, (4, 4)).log_prob(torch.full((2, 1, 4, 4), 256)), r"levels are 0\.\.255, got 256\.\.256"),
        (lambda: Flow(1, (4, 4)).log_prob(torch.full((2, 1, 4, 4), -1)), r"levels are 0\.\.255, got -1\.\.-1"),
        (lambda: Flow(1, (4, 4)).log_prob(images(2, 1, 4, 4), torch.zeros(2)), "Flow takes no condition"),
        (lambda: Flow(1, (4, 4)).interpolate(*images(2, 1, 1, 4, 4), num_steps=1), "num_steps must be at least 2"),
        (lambda: Squeeze()(noise(1, 1, 3, 4)), "a squeeze needs an even height and width, got"),
        (lambda: channel_mask(3), "must be even, got 3"),
    ],
)
def test_what_does_not_fit_is_refused(build, complaint):
    with pytest.raises(ValueError, match=complaint):
        build()


def test_assert_invertible_works_in_an_optimised_python():
    """`python -O` leaves assertions out."""
    code = (
        "import torch; from pixellib import assert_invertible; from pixellib.models.flows.layers import Squeeze\n"
        "class Wrong(Squeeze):\n    def inverse(self, z): return super().inverse(z) + 1\n"
        "assert_invertible(Wrong(), torch.randn(1, 1, 4, 4))"
    )
    answer = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "AssertionError: the inverse is off by up to 1" in answer.stderr
