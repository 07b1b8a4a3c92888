"""The likelihoods that notebook 10 compares: each sums to one, and what is a softmax in other words is one."""

import pytest
import torch
from torch import nn

from pixellib.likelihoods import Categorical, LogisticMixture
from pixellib.series.permuted.heads import BinaryTree, GridMixture, SymbolMixture

TRUNCATED = {"tails": "truncated", "min_log_scale": -9.0}
HEADS = [
    BinaryTree(),
    GridMixture(),
    GridMixture(5, (8, 8, 4)),
    SymbolMixture(10, **TRUNCATED, mean_rate=0.1, ceiling=0.0),
    SymbolMixture(256, **TRUNCATED, on_symbols=True),
    SymbolMixture(256, **TRUNCATED, fixed=True),
    GridMixture(10, (256,)),
]


def drawn(head, spread=3.0):
    generator = torch.Generator().manual_seed(0)
    return spread * torch.randn(2, head.num_params(1), 3, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_masses_sum_to_one_and_are_those_of_log_prob(head):
    x = torch.randint(256, (2, 1, 3, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    d = head(drawn(head))
    log_p = d.conditional_log_pmf(x)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(2, 1, 3, 3, dtype=torch.float64))
    torch.testing.assert_close(log_p.gather(1, x.long()[:, None])[:, 0].sum((1, 2, 3)), d.log_prob(x))
    assert len(head.channel_index(1)) == head.num_params(1)
    with pytest.raises(ValueError, match="channel"):
        head.num_params(2)


def test_components_that_stay_on_their_symbols_are_a_softmax():
    head, x = SymbolMixture(256, **TRUNCATED, fixed=True), torch.zeros(2, 1, 3, 3, dtype=torch.uint8)
    params = drawn(head)
    softmax = Categorical()(params).conditional_log_pmf(x)
    torch.testing.assert_close(head(params).conditional_log_pmf(x), softmax, atol=1e-6, rtol=0)


def test_every_symbol_of_the_tree_can_be_made_certain():
    params = torch.empty(1, 255, 1, 1, dtype=torch.float64)
    for symbol in (0, 1, 100, 255):
        node = 0
        params.zero_()
        for bit in f"{symbol:08b}":
            params[0, node] = 30.0 if bit == "1" else -30.0
            node = 2 * node + 1 + int(bit)
        p = BinaryTree()(params).conditional_log_pmf(torch.zeros(1, 1, 1, 1, dtype=torch.uint8)).exp().flatten()
        assert p[symbol] > 0.999


def test_a_narrow_component_of_the_grid_has_its_place_and_those_beside_it_in_each_dimension():
    head = GridMixture(1)
    at = torch.tensor([0.0, 2 * 3 / 15 - 1, -3.0, 2 * 7 / 15 - 1, -3.0]).view(1, -1, 1, 1)  # row 3, column 7
    p = head(at).conditional_log_pmf(torch.zeros(1, 1, 1, 1, dtype=torch.uint8)).exp().view(16, 16)
    assert p.argmax() == 3 * 16 + 7
    torch.testing.assert_close(p[2, 7], p[4, 7])
    torch.testing.assert_close(p[3, 6], p[2, 7])


def layer_for(head):
    torch.manual_seed(0)
    layer = nn.Conv2d(16, head.num_params(1), 1)
    head.init_output_(layer, 1)
    return layer


def test_means_move_as_much_less_as_the_rate_says_and_begin_at_the_same_places():
    slow, usual = SymbolMixture(3, **TRUNCATED, mean_rate=0.1), LogisticMixture(3, **TRUNCATED)
    features, x = torch.randn(4, 16, 2, 2), torch.randint(256, (4, 1, 2, 2), dtype=torch.uint8)
    outputs = [layer_for(head)(features) for head in (slow, usual)]
    torch.testing.assert_close(slow(outputs[0]).log_prob(x), usual(outputs[1]).log_prob(x))
    moved = outputs[0].clone()
    moved[:, 3:6] += 1.0
    change = slow(moved).means - slow(outputs[0]).means
    torch.testing.assert_close(change, torch.full_like(change, 0.1))


def test_scales_stay_below_the_ceiling_and_can_come_back_from_it():
    head = SymbolMixture(1, **TRUNCATED, ceiling=0.0)
    params = torch.tensor([0.0, 0.0, 5.0]).view(1, 3, 1, 1).requires_grad_()
    d = head(params)
    assert d.log_scales.max() < 0
    slope = torch.autograd.grad(d.log_prob(torch.full((1, 1, 1, 1), 128, dtype=torch.uint8)).sum(), params)[0]
    assert slope[0, 2] < 0


def test_components_begin_on_their_symbols_and_say_what_the_logits_say():
    head = SymbolMixture(256, **TRUNCATED, on_symbols=True, mean_rate=0.01)
    layer = layer_for(head)
    params = layer(torch.randn(1, 16, 1, 1))
    p = head(params).conditional_log_pmf(torch.zeros(1, 1, 1, 1, dtype=torch.uint8)).exp().flatten()
    weights = params[0, :256, 0, 0].softmax(0)
    assert torch.corrcoef(torch.stack([p, weights]))[0, 1] > 0.9
    for kind in ({"on_symbols": True}, {"fixed": True}):
        with pytest.raises(ValueError, match="10 components cannot lie on 256 symbols"):
            SymbolMixture(10, **kind)


def test_slow_means_are_the_same_mixture_of_colours_and_begin_where_it_does():
    """The network gives ten times what the means are, so a step of the optimiser moves them a tenth as far."""
    slow, usual = SymbolMixture(3, **TRUNCATED, mean_rate=0.1), LogisticMixture(3, **TRUNCATED)
    params, x = torch.randn(2, 30, 4, 4), torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    raw = params.clone()
    raw[:, 3:].unflatten(1, (3, 3, 3))[:, :, 0] /= 0.1
    torch.testing.assert_close(slow(raw).log_prob(x), usual(params).log_prob(x))
    assert torch.equal(slow.channel_index(3), usual.channel_index(3))
    features, begins = torch.randn(2, 5, 4, 4), []
    for head in (slow, usual):
        torch.manual_seed(0)
        layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(5, 30, 1))
        head.init_output_(layer, 3)
        begins.append(head(layer(features)).log_prob(x))
    torch.testing.assert_close(*begins)


def test_a_grid_of_another_number_of_places_is_refused():
    with pytest.raises(ValueError, match="expected a grid of 256 places"):
        GridMixture(10, (16, 15))


def test_a_limit_of_the_scales_is_kept():
    """No component is broader, whatever the network gives: a scale above the limit and one at it are the same."""
    head = SymbolMixture(3, **TRUNCATED, max_log_scale=-2.0)
    x, params = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1), torch.zeros(256, 9, 1, 1)
    at, above, below = (params.index_fill(1, torch.arange(6, 9), value) for value in (-2.0, 1.0, -3.0))
    assert torch.equal(head(above).log_prob(x), head(at).log_prob(x))
    assert not torch.equal(head(below).log_prob(x), head(at).log_prob(x))
