"""An order of symbols is found from who lies beside whom, and from nothing else."""

import pytest
import torch

from pixellib import data
from pixellib.data import IntensityPermutation
from pixellib.series.permuted.order import by_frequency, cooccurrence, order_by_neighbours, spread_out


def test_neighbours_are_counted_in_both_directions():
    x = torch.tensor([[0, 1], [1, 1]], dtype=torch.uint8).view(1, 1, 2, 2)
    assert cooccurrence(x, 3).tolist() == [[0, 2, 0], [2, 4, 0], [0, 0, 0]]


def drift(generator, size=64):
    """Images whose neighbours differ by at most 1 level of 20, in both directions."""
    rows, columns = (torch.randint(2, (4, 1, size), generator=generator).cumsum(-1) for _ in range(2))
    level = (rows.unsqueeze(-1) + columns.unsqueeze(-2)) % 38
    return torch.where(level < 20, level, 38 - level).to(torch.uint8)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_scrambled_order_comes_back_up_to_its_direction(seed):
    x, scrambled = drift(torch.Generator().manual_seed(seed)), IntensityPermutation(20, seed)
    found = order_by_neighbours(scrambled(x), 20)
    places = found(scrambled(torch.arange(20, dtype=torch.uint8))).long()
    steps = places.diff()
    assert torch.equal(steps, torch.ones(19).long()) or torch.equal(steps, -torch.ones(19).long())


def test_photographs_and_digits_give_their_levels_an_order():
    """The order of real images: neighbours in the line that was found are neighbours in brightness."""
    for name, largest in {"offline_crops": 12.0, "mnist": 12.0}.items():
        x, scrambled = data.load(name, "train")[0][:2000, :1], IntensityPermutation(seed=5)
        found = order_by_neighbours(scrambled(x))
        in_line = scrambled.inverse(found.inverse(torch.arange(256, dtype=torch.uint8))).double()
        assert in_line.diff().abs().mean() < largest  # of a scrambled line: 85


def test_symbols_that_never_occur_come_last():
    x = torch.tensor([[5, 3, 7, 7]], dtype=torch.uint8).view(1, 1, 1, 4)
    places = order_by_neighbours(x, 9)(torch.arange(9, dtype=torch.uint8)).tolist()
    assert sorted(places[level] for level in (3, 5, 7)) == [0, 1, 2] and places[3] == 1
    constant = order_by_neighbours(torch.full((1, 1, 2, 2), 4, dtype=torch.uint8), 6)
    assert sorted(constant.table.tolist()) == list(range(6))


def test_the_most_frequent_symbol_comes_first_and_of_equals_the_smaller():
    x = torch.tensor([5, 3, 7, 7, 7, 3], dtype=torch.uint8).view(1, 1, 1, 6)
    assert by_frequency(x, 9)(torch.tensor([7, 3, 5, 0, 1], dtype=torch.uint8)).tolist() == [0, 1, 2, 3, 4]


def test_symbols_that_occur_are_spread_over_all_places_in_their_order():
    x = torch.tensor([5, 5, 5, 2, 2, 7, 0], dtype=torch.uint8).view(1, 1, 1, 7)
    order = spread_out(by_frequency(x, 8), x)
    assert order.table[[5, 2, 0, 7]].tolist() == [0, 2, 4, 6]
    assert sorted(order.table.tolist()) == list(range(8))
    every = torch.arange(8, dtype=torch.uint8).view(1, 1, 1, 8)
    assert torch.equal(spread_out(by_frequency(every, 8), every).table, by_frequency(every, 8).table)


def test_a_permutation_of_a_table_maps_as_the_table_says_and_refuses_others():
    permutation = IntensityPermutation.of_table(torch.tensor([2, 0, 1]))
    x = torch.tensor([0, 1, 2, 2], dtype=torch.uint8)
    assert permutation(x).tolist() == [2, 0, 1, 1] and torch.equal(permutation.inverse(permutation(x)), x)
    for table in ([0, 0, 1], [1, 2, 3], []):
        with pytest.raises(ValueError, match="each once"):
            IntensityPermutation.of_table(torch.tensor(table))
