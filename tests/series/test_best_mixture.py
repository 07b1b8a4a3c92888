"""The best mixture for a known distribution: what it can describe costs nothing, what it cannot costs what it must."""

import math

import pytest
import torch

from pixellib.likelihoods import Categorical, LogisticMixture
from pixellib.models import GatedPixelCNN
from pixellib.series.permuted.best_mixture import divergence, divergence_of_bins, predictions


def truncated(num_components, **limits):
    return LogisticMixture(num_components, "truncated", **limits, min_log_scale=-9.0)


def test_what_a_mixture_can_describe_costs_nothing():
    params = torch.tensor([0.5, -0.5, -0.6, 0.4, -2.0, -3.0]).view(1, 6, 1, 1)
    two = LogisticMixture(2, "truncated")(params).conditional_log_pmf(torch.zeros(1, 1, 1, 1, dtype=torch.uint8))
    assert divergence(two[:, :, 0, 0, 0].exp(), truncated(2)).item() < 0.003
    assert divergence(torch.full((1, 256), 1 / 256), truncated(256)).item() == 0


@pytest.mark.parametrize("num_components", [1, 2, 3])
def test_of_three_distant_symbols_each_takes_a_component(num_components):
    """Fewer than three must leave a symbol to a broad component, which costs bits."""
    pmf = torch.zeros(1, 256)
    pmf[0, [3, 100, 222]] = 1 / 3
    lost = divergence(pmf, truncated(num_components)).item()
    assert (lost < 0.05) if num_components == 3 else (1.0 < lost < 8 - math.log2(3) + 0.01)


def test_a_limit_of_the_scales_is_kept_and_costs_bits_where_a_broad_component_would_serve():
    pmf = torch.full((1, 256), 0.5 / 256)
    pmf[0, 77] += 0.5  # a narrow component and a uniform one
    free, limited = (divergence(pmf, truncated(2, max_log_scale=limit)).item() for limit in (None, -2.5))
    assert free < 0.02 and limited > 0.3


def test_the_best_mixture_within_the_limit_is_found():
    """Two symbols and a broad rest, which must be made of several components at the limit."""
    rest, two = torch.linspace(-0.75, 0.75, 4), torch.tensor([-0.2, 0.55])
    params = torch.cat([torch.zeros(6), two, rest, torch.tensor([-5.5, -5.5]), torch.full((4,), -1.4)])
    blank = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    pmf = truncated(6)(params.view(1, -1, 1, 1)).conditional_log_pmf(blank)[:, :, 0, 0, 0].exp()
    limited, free = (divergence(pmf, truncated(6, max_log_scale=limit)).item() for limit in (-1.4, None))
    assert limited < 0.02 and free < limited + 0.01, "and without the limit it is no worse"


def test_bins_lose_what_is_uneven_within_them():
    pmf = torch.zeros(1, 256)
    pmf[0, [0, 200]] = 0.5
    assert divergence_of_bins(pmf, 256).item() == 0
    assert divergence_of_bins(pmf, 2).item() == pytest.approx(7)  # one of the 128 symbols of each half


def test_predictions_are_those_of_the_model_at_one_pixel_of_each_image():
    torch.manual_seed(0)
    model = GatedPixelCNN(1, (4, 5), num_layers=1, num_filters=4, kernel_size=3, likelihood=Categorical(8)).eval()
    x = torch.randint(8, (30, 1, 4, 5), dtype=torch.uint8)
    pmf = predictions(model, x, seed=3)
    torch.testing.assert_close(pmf.sum(1), torch.ones(30))
    everywhere = model(x).conditional_log_pmf(x)[:, :, 0].exp().flatten(2).movedim(2, 1)  # (30, 20, 8)
    assert ((everywhere - pmf[:, None]).abs().amax(2).amin(1) < 1e-5).all()
    assert divergence(pmf, truncated(2, num_levels=8), steps=2).isfinite().all(), "a gradient can be taken of them"
    assert torch.equal(pmf, predictions(model, x, seed=3)) and not torch.equal(pmf, predictions(model, x, seed=4))
