"""The best mixture for a known distribution: what it can describe costs nothing, what it cannot costs what it must."""

import math

import pytest
import torch

from pixellib.likelihoods import Categorical, LogisticMixture
from pixellib.models import GatedPixelCNN
from pixellib.series.permuted.best_mixture import divergence, predictions


def test_what_a_mixture_can_describe_costs_nothing():
    params = torch.tensor([0.5, -0.5, -0.6, 0.4, -2.0, -3.0]).view(1, 6, 1, 1)
    two = LogisticMixture(2, "truncated")(params).conditional_log_pmf(torch.zeros(1, 1, 1, 1, dtype=torch.uint8))
    assert divergence(two[:, :, 0, 0, 0].exp(), 2).item() < 0.003
    assert divergence(torch.full((1, 256), 1 / 256), 256).item() == 0


@pytest.mark.parametrize("num_components", [1, 2, 3])
def test_of_three_distant_symbols_each_takes_a_component(num_components):
    """Fewer than three must leave a symbol to a broad component, which costs bits."""
    pmf = torch.zeros(1, 256)
    pmf[0, [3, 100, 222]] = 1 / 3
    lost = divergence(pmf, num_components).item()
    assert (lost < 0.05) if num_components == 3 else (1.0 < lost < 8 - math.log2(3))


def test_predictions_are_those_of_the_model_at_one_pixel_of_each_image():
    torch.manual_seed(0)
    model = GatedPixelCNN(1, (4, 5), num_layers=1, num_filters=4, kernel_size=3, likelihood=Categorical(8)).eval()
    x = torch.randint(8, (30, 1, 4, 5), dtype=torch.uint8)
    pmf = predictions(model, x, seed=3)
    torch.testing.assert_close(pmf.sum(1), torch.ones(30))
    everywhere = model(x).conditional_log_pmf(x)[:, :, 0].exp().flatten(2).movedim(2, 1)  # (30, 20, 8)
    assert ((everywhere - pmf[:, None]).abs().amax(2).amin(1) < 1e-5).all()
    assert divergence(pmf, 2, steps=2).isfinite().all(), "a gradient can be taken of them"
    assert torch.equal(pmf, predictions(model, x, seed=3)) and not torch.equal(pmf, predictions(model, x, seed=4))
