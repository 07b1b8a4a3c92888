"""Finding leaks: does a model that says it is autoregressive see only the past, and its neighbours there?"""

import contextlib
import copy
import itertools

import torch
from torch import Tensor

from pixellib.models.autoregressive.base import AutoregressiveModel

SEEN = 1e-12  # influence above this is no rounding error, in float64


def assert_causal(
    model: AutoregressiveModel, *, size: tuple[int, int] | None = None, condition: Tensor | None = None
) -> None:
    """AssertionError, naming a place, if parameters see what they must predict, or do not see what they should.

    Works on a float64 copy of the model and a random image of the given size, in two ways that do not share a mistake:
    every sub-pixel is changed and the parameters compared, and the parameters are differentiated. What comes before a
    sub-pixel, and its own parameters, must not move anywhere; the pixel to its right, the three below it and, where the
    model is autoregressive over channels, the later channels of its own pixel must move somewhere in the image.

    size: (H, W), one that the model allows; if None, the smallest square from 6 x 6 on, because the time it takes grows
    with the fourth power of the side. condition: for one image, where the model needs one. TypeError for a model of
    another kind.

    >>> from pixellib.models import GatedPixelCNN
    >>> _ = torch.manual_seed(0)  # with unlucky weights so small a network may be blind to a neighbour
    >>> assert_causal(GatedPixelCNN(num_layers=2, num_filters=8, kernel_size=3), size=(4, 4))
    """
    if not isinstance(model, AutoregressiveModel):
        raise TypeError(f"only an AutoregressiveModel can be causal, got {type(model).__name__}")
    size = _smallest_size(model) if size is None else size
    model = copy.deepcopy(model).double().eval()
    generator = torch.Generator().manual_seed(0)
    y = 2 * torch.rand(1, model.num_inputs, *size, generator=generator, dtype=torch.float64) - 1
    y = y.to(next(model.parameters()).device)
    condition = model.check_condition(condition, 1, size)
    for measure, influence in (("a change", by_change), ("the derivative", by_derivative)):
        _check_influence(influence(model, y, condition).cpu(), measure, model.channel_autoregressive)


@torch.no_grad()
def by_change(model: AutoregressiveModel, y: Tensor, condition: Tensor | None = None) -> Tensor:
    """How much the parameters move when one sub-pixel of y, the network's input, float (1, I, H, W), changes its sign.

    Returns float (C, H, W, G, H, W), from sub-pixel to parameters, in absolute value. G: the channels that have
    parameters of their own, 1 where a pixel's channels are drawn together.
    """
    before, influence = model.network(y, condition), []
    places = model.channels, *y.shape[2:]
    for channel, row, column in itertools.product(*map(range, places)):
        changed = y.clone()
        changed.unflatten(1, (model.channels, -1))[:, channel, :, row, column] *= -1
        moved = (model.network(changed, condition) - before).abs()[0]
        influence.append(torch.stack([part.sum(0) for part in _by_channel(model, moved)]))
    return torch.stack(influence).view(*places, *influence[0].shape)


def by_derivative(model: AutoregressiveModel, y: Tensor, condition: Tensor | None = None) -> Tensor:
    """The same from derivatives: of a random combination of the parameters by each sub-pixel, in absolute value."""
    y = y.clone().requires_grad_()
    params = model.network(y, condition)[0]
    weights = 0.5 + torch.rand(len(params), 1, 1, generator=torch.Generator().manual_seed(1), dtype=params.dtype)
    sums = torch.stack([part.sum(0) for part in _by_channel(model, params * weights.to(params))])
    columns = [torch.autograd.grad(s, y, retain_graph=True)[0][0].abs() for s in sums.flatten()]
    influence = torch.stack(columns, -1).unflatten(0, (model.channels, -1)).sum(1)
    return influence.view(*influence.shape[:3], *sums.shape)


def _smallest_size(model: AutoregressiveModel) -> tuple[int, int]:
    for side in range(6, 65):
        with contextlib.suppress(ValueError):
            model.check_size((side, side))
            return side, side
    raise ValueError(f"{type(model).__name__} allows no square from 6 x 6 to 64 x 64: say which size")


def _by_channel(model: AutoregressiveModel, params: Tensor) -> list[Tensor]:
    """params (P, H, W), divided by the colour channel that they serve; in one piece where channels are coupled."""
    index = model.param_channels
    return [params] if index is None else [params[index[channel]] for channel in range(model.channels)]


def _check_influence(influence: Tensor, measure: str, ordered: bool) -> None:
    """AssertionError unless the future is without influence, and the neighbours are not.

    influence: (C, H, W, G, H, W), see `by_change`. measure: what it is, for the message. ordered: whether later
    channels see earlier ones of their pixel.
    """
    channels, height, width, blocks = influence.shape[:4]
    seen = influence > SEEN
    for source, target in itertools.product(range(channels), range(blocks)):
        later = ordered and target > source
        of_target = f" of channel {target}" * ordered
        by_pixel = seen[source, :, :, target].reshape(height * width, height * width)  # in raster order
        leaks = (by_pixel & ~torch.ones_like(by_pixel).triu(0 if later else 1)).nonzero()
        if len(leaks):
            (row, column), (to_row, to_column) = (divmod(i, width) for i in leaks[0].tolist())
            raise AssertionError(
                f"{measure} of channel {source} at row {row}, column {column} reaches parameters{of_target} "
                f"at row {to_row}, column {to_column}, which come first"
            )
        expected = {"right": (0, 1), "below": (1, 0), "below to the left": (1, -1), "below to the right": (1, 1)}
        if later:
            expected["at the same place"] = 0, 0
        for name, (down, right) in expected.items():
            if not seen[source, :, :, target].diagonal(down, 0, 2).diagonal(right, 0, 1).any():
                raise AssertionError(f"{measure} of channel {source} never reaches parameters{of_target} {name}")
