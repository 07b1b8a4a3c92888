"""Finding leaks: does a model that says it is autoregressive see only the past, and its neighbours there?"""

import copy
import itertools

import torch
from torch import Tensor

from pixellib.models.autoregressive.base import AutoregressiveModel


def assert_causal(model: AutoregressiveModel, *, size: tuple[int, int] = (6, 6), condition=None) -> None:
    """AssertionError, naming a place, if parameters see what they must predict, or are blind to what they should see.

    Works on a float64 copy of the model and a random image of the given size, in two ways that do not share a mistake:
    every sub-pixel is changed and the parameters compared, and the parameters are differentiated. What comes before a
    sub-pixel, and its own parameters, must stay as they are everywhere; the pixel to its right, the three below it and,
    where channels are ordered, the later channels of its own pixel must move somewhere in the image. condition: for one
    image, where the model needs one.
    """
    model = copy.deepcopy(model).double().eval()
    generator = torch.Generator().manual_seed(0)
    y = 2 * torch.rand(1, model.num_inputs, *size, generator=generator, dtype=torch.float64) - 1
    y = y.to(next(model.parameters()).device)
    if isinstance(condition, Tensor) and condition.is_floating_point():
        condition = condition.double()
    for how, influence in (("a change", by_change), ("the derivative", by_derivative)):
        _judge(influence(model, y, condition).cpu(), how, model.channel_autoregressive)


@torch.no_grad()
def by_change(model: AutoregressiveModel, y: Tensor, condition=None) -> Tensor:
    """How much the parameters move when one sub-pixel of y, the network's input, float (1, I, H, W), changes its sign.

    float (C, H, W, G, H, W), from sub-pixel to parameters, in absolute value. G: the channels that have parameters of
    their own, 1 where a pixel's channels are drawn together.
    """
    before, influence = model.network(y, condition), []
    places = model.channels, *y.shape[2:]
    for channel, row, column in itertools.product(*map(range, places)):
        changed = y.clone()
        changed.unflatten(1, (model.channels, -1))[:, channel, :, row, column] *= -1
        moved = (model.network(changed, condition) - before).abs()[0]
        influence.append(torch.stack([part.sum(0) for part in _by_channel(model, moved)]))
    return torch.stack(influence).view(*places, *influence[0].shape)


def by_derivative(model: AutoregressiveModel, y: Tensor, condition=None) -> Tensor:
    """The same from derivatives: of a random combination of the parameters by each sub-pixel, in absolute value."""
    y = y.clone().requires_grad_()
    params = model.network(y, condition)[0]
    weights = 0.5 + torch.rand(len(params), 1, 1, generator=torch.Generator().manual_seed(1), dtype=params.dtype)
    sums = torch.stack([part.sum(0) for part in _by_channel(model, params * weights.to(params))])
    columns = [torch.autograd.grad(s, y, retain_graph=True)[0][0].abs() for s in sums.flatten()]
    influence = torch.stack(columns, -1).unflatten(0, (model.channels, -1)).sum(1)
    return influence.view(*influence.shape[:3], *sums.shape)


def _by_channel(model: AutoregressiveModel, params: Tensor) -> list[Tensor]:
    groups = model.parameter_groups()
    if groups is None:
        return [params]
    return [params[(groups == channel).to(params.device)] for channel in range(model.channels)]


def _judge(influence: Tensor, how: str, ordered: bool) -> None:
    """influence: (C, H, W, G, H, W)."""
    channels, height, width, groups = influence.shape[:4]
    seen = (influence > 1e-12).reshape(channels, height * width, groups, height * width)  # pixels in their order
    for c in range(channels):
        for g in range(groups):
            by_pixel = seen[c, :, g]  # from pixels to pixels
            allowed = torch.ones_like(by_pixel).triu(0 if ordered and g > c else 1)
            leaks = (by_pixel & ~allowed).nonzero()
            if len(leaks):
                (row, column), (to_row, to_column) = (divmod(i, width) for i in leaks[0].tolist())
                raise AssertionError(
                    f"{how} of channel {c} at row {row}, column {column} reaches parameters"
                    f"{f' of channel {g}' * ordered} at row {to_row}, column {to_column}, which come first"
                )
            to_place = influence[c, :, :, g] > 1e-12  # from row, column to row, column
            expected = {"right": (0, 1), "below": (1, 0), "below to the left": (1, -1), "below to the right": (1, 1)}
            if ordered and g > c:
                expected["at the same place"] = 0, 0
            for name, (down, right) in expected.items():
                if not to_place.diagonal(down, 0, 2).diagonal(right, 0, 1).any():
                    raise AssertionError(
                        f"{how} of channel {c} never reaches parameters{f' of channel {g}' * ordered} {name}"
                    )
