"""Orders of symbols found in images of them alone: which occur, which are neighbours of which, and which can take each
other's place?

Seriation by the Fiedler vector: Atkins, Boman and Hendrickson, "A spectral algorithm for seriation and the consecutive
ones problem", SIAM Journal on Computing 1998.
"""

import torch
from torch import Tensor

from pixellib.data.transforms import IntensityPermutation
from pixellib.models import AutoregressiveModel


def cooccurrence(symbols: Tensor, num_levels: int = 256) -> Tensor:
    """How often each two symbols lie side by side, or one above the other: float64 (L, L), symmetric.

    symbols: integers (N, C, H, W), values 0..L-1.
    """
    counts = torch.zeros(num_levels**2, dtype=torch.float64)
    x = symbols.long()
    for one, other in ((x[..., 1:], x[..., :-1]), (x[..., 1:, :], x[..., :-1, :])):
        counts += (one * num_levels + other).flatten().bincount(minlength=num_levels**2)
    counts = counts.view(num_levels, num_levels)
    return counts + counts.T


def used_first(symbols: Tensor, num_levels: int = 256) -> IntensityPermutation:
    """The mapping that packs the symbols that occur into the first places, and leaves their order as it is."""
    occurs = symbols.flatten().int().bincount(minlength=num_levels) > 0
    return IntensityPermutation.of_table((~occurs).int().argsort(stable=True).argsort())


def by_frequency(symbols: Tensor, num_levels: int = 256) -> IntensityPermutation:
    """The mapping that puts the symbol that occurs most often first, then the next; of equals, the smaller first."""
    counts = symbols.flatten().int().bincount(minlength=num_levels)
    return IntensityPermutation.of_table((-counts).argsort(stable=True).argsort())


def order_by_neighbours(symbols: Tensor, num_levels: int = 256) -> IntensityPermutation:
    """The mapping of symbols to places in a line in which those that are often neighbours lie close; symbols that never
    occur come last. Which end comes first is not known: the line may run backwards.

    Of all lines of symbols, with places of mean 0 and variance 1 over the pixels, the one that moves least from pixel
    to neighbour: the second eigenvector of the normalised co-occurrence.
    """
    return _line(cooccurrence(symbols, num_levels))


def spread_out(order: IntensityPermutation, symbols: Tensor) -> IntensityPermutation:
    """The same order of the symbols that occur, spread evenly over all places; those that do not occur fill the gaps.

    symbols: integers (N, C, H, W). A mixture whose components begin side by side then finds as much to do everywhere.
    """
    num_levels = len(order.table)
    occurs = symbols.flatten().int().bincount(minlength=num_levels) > 0
    sequence = order.table.long().argsort()  # symbols by place
    used, unused = sequence[occurs[sequence]], sequence[~occurs[sequence]]
    places = torch.arange(len(used)) * num_levels // len(used)
    free = torch.ones(num_levels, dtype=torch.bool).index_fill(0, places, False).nonzero().flatten()
    table = torch.empty(num_levels, dtype=torch.long)
    table[used], table[unused] = places, free
    return IntensityPermutation.of_table(table)


@torch.no_grad()
def order_by_predictions(model: AutoregressiveModel, symbols: Tensor, num_levels: int = 256) -> IntensityPermutation:
    """The same with another measure of what belongs together: symbols between which a trained model is often undecided
    lie close. They are counted by the products of their predicted probabilities, over the pixels of these images.
    """
    counts = torch.zeros(num_levels, num_levels, dtype=torch.float64)
    for x in symbols.to(next(model.parameters()).device).split(20):
        pmf = model(x).conditional_log_pmf(x)[:, :, 0].exp()
        pmf = pmf.movedim(1, -1).flatten(0, -2)  # (pixels, L)
        counts += (pmf.T @ pmf).cpu()
    return _line(counts)


def _line(counts: Tensor) -> IntensityPermutation:
    """The order for a symmetric matrix of counts, float64 (L, L)."""
    num_levels, occurs = len(counts), counts.sum(1) > 0
    among = counts[occurs][:, occurs]
    root = among.sum(1).sqrt()
    vectors = torch.linalg.eigh(among / (root[:, None] * root)).eigenvectors
    place = torch.full((num_levels,), torch.inf, dtype=torch.float64)
    if len(root) > 1:
        place[occurs] = vectors[:, -2] / root
    return IntensityPermutation.of_table(place.argsort(stable=True).argsort())
