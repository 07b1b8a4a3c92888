"""Ancestral sampling from any autoregressive model; where the model can be stepped through, nothing is computed twice.

The idea of keeping activations is Ramachandran et al. 2017, "Fast generation for convolutional autoregressive models".
`AutoregressiveModel.sample` is the way in. `model` is such a model in all functions below.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.utils import parametrize
from tqdm.auto import tqdm

from pixellib import devices
from pixellib.likelihoods.base import INTEGERS, levels_dtype
from pixellib.models.autoregressive.layers import Step
from pixellib.models.base import eval_mode
from pixellib.models.checks import check_counts, check_sampling, check_shape

# what is put at a place, uint8 (B, C', 1, 1), given its distribution, its row and column, and which channels it has
Choice = Callable[[Distribution, int, int, slice], Tensor]
Place = tuple[int, int, int | None]  # row, column, and the colour channel, None where channels are drawn together


def sample(
    model: nn.Module,
    num_samples: int,
    *,
    size: Sequence[int],
    condition: Tensor | None = None,
    generator: torch.Generator | None = None,
    given: tuple[Tensor, int | Tensor] | None = None,
    temperature: float = 1.0,
    cached: bool = True,
    precision: str = "auto",
    progress: bool = False,
) -> Tensor:
    """Images drawn pixel by pixel, (num_samples, C, H, W): see AutoregressiveModel.sample."""
    height, width = check_shape(model.channels, size)
    device = check_sampling(model, num_samples, (model.channels, height, width))
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    model.check_size((height, width))
    condition = model.check_condition(condition, num_samples, (height, width))
    shape, num_known = (num_samples, model.channels, height, width), 0
    x = torch.zeros(shape, dtype=levels_dtype(model.likelihood.num_levels), device=device)
    if given is not None:
        known = _check_given(given, shape, model.likelihood.num_levels).to(device)  # bool (B or 1, 1, H, W)
        image = given[0].to(x).expand(shape)
        num_known = int(known.all(3).all(0).cumprod(-1).sum())  # of the first rows, those that are known altogether
        x[:, :, :num_known] = image[:, :, :num_known]

    def draw(pixels: Distribution, row: int, column: int, channels: slice) -> Tensor:
        drawn = _draw(pixels, temperature, generator)
        if given is None:
            return drawn
        here = (..., slice(row, row + 1), slice(column, column + 1))
        return torch.where(known[here], image[:, channels][here], drawn)

    fill(
        model, x, draw, condition=condition, num_known=num_known, cached=cached, precision=precision, progress=progress
    )  # fmt: skip
    return x


def fill(
    model: nn.Module,
    x: Tensor,
    choose: Choice,
    *,
    condition: Tensor | None = None,
    num_known: int = 0,
    cached: bool = True,
    precision: str = "auto",
    progress: bool = False,
) -> None:
    """Set the pixels of x, uint8 (B, C, H, W), one after another: see AutoregressiveModel.fill.

    condition: as check_condition returns it. num_known: rows that are left as they are.
    """
    passes = cached_params if cached and model.supports_cache else naive_params
    steps = passes(model, x, condition, num_known, progress)
    # parametrize.cached(): weights are normalised once, not at every step
    with (
        closing(steps), eval_mode(model), torch.inference_mode(), parametrize.cached(),
        devices.autocast(x.device, precision),
    ):  # fmt: skip
        for (row, column, channel), params in steps:
            channels = slice(None) if channel is None else slice(channel, channel + 1)
            chosen = choose(model.likelihood(params), row, column, channels)
            x[:, channels, row, column] = chosen[..., 0, 0]


def naive_params(
    model: nn.Module, x: Tensor, condition: Tensor | None, num_known: int, progress: bool = False
) -> Iterator[tuple[Place, Tensor]]:
    """Each place in raster order and the parameters there, (B, P, 1, 1), given what x holds by then.

    Every place takes a forward pass of the whole image. num_known: rows that are passed over.
    """
    for row in tqdm(range(num_known, x.shape[-2]), desc="sample", unit="row", disable=not progress):
        for column in range(x.shape[-1]):
            for channel in _channels_of(model):
                params = model.network(model.inputs(x), condition)[:, :, row, column, None, None]
                yield (row, column, channel), params if channel is None else params[:, model.param_channels[channel]]


def cached_params(
    model: nn.Module, x: Tensor, condition: Tensor | None, num_known: int, progress: bool = False
) -> Iterator[tuple[Place, Tensor]]:
    """The same from a TwoStreamModel, whose activations are kept from place to place.

    The vertical stream steps by row; the horizontal one by pixel, and by row where the row is known.
    """
    memory, channels, ordered = {}, _channels_of(model), model.channel_autoregressive
    parts = model.embed(condition)
    height, width = x.shape[-2:]
    blank = model.inputs(x[:, :, :1]) * 0
    with tqdm(total=height - num_known, desc="sample", unit="row", disable=not progress) as bar:
        try:
            for row in range(height):
                of_row = [part if part.shape[-2] == 1 else part[..., row, None, :] for part in parts]
                step = Step(row, width, memory=memory)
                vertical = model.vertical(model.inputs(x[:, :, row - 1, None]) if row else blank, of_row, step)
                if row < num_known:
                    y = model.inputs(x[:, :, row, None])
                    model.horizontal(F.pad(y, (1, -1)), y, vertical, of_row, step)
                    continue
                for column in range(width):
                    left = model.inputs(x[:, :, row, column - 1, None, None]) if column else blank[..., :1]
                    for channel in channels:
                        step = Step(row, width, column, channel, memory)
                        pixel = model.inputs(x[:, :, row, column, None, None]) if ordered else left
                        yield (row, column, channel), model.horizontal(left, pixel, vertical, of_row, step)
                bar.update()
        finally:
            memory.clear()  # also when interrupted, and somebody keeps the traceback


def _channels_of(model: nn.Module) -> list[int | None]:
    """The colour channels in the order in which they are drawn; None for all of a pixel together."""
    return list(range(model.channels)) if model.channel_autoregressive else [None]


def _draw(pixels: Distribution, temperature: float, generator: torch.Generator | None) -> Tensor:
    """A value for each pixel, uint8 (B, C, 1, 1), the channels in order."""
    x = pixels.sample(generator=generator)
    if temperature == 1:
        return x
    for channel in range(x.shape[1]):  # what was drawn above is replaced, channel by channel
        log_p = pixels.conditional_log_pmf(x)[:, :, channel, 0, 0]
        drawn = torch.multinomial((log_p / temperature).softmax(1), 1, generator=generator)[:, 0]
        x[:, channel, 0, 0] = torch.tensor(pixels.values, device=x.device)[drawn]
    return x


def _check_given(given: tuple[Tensor, int | Tensor], shape: tuple[int, ...], num_levels: int) -> Tensor:
    """Which pixels are known: bool (B or 1, 1, H, W). ValueError if image or mask or number of rows do not fit images
    of that shape (B, C, H, W).
    """
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(f"given must be (image, mask) or (image, num_known_rows), got {type(given).__name__}")
    (image, known), (num, _, height, width) = given, shape
    if image.dtype not in INTEGERS or image.shape not in (shape, shape[1:]):
        raise ValueError(
            f"expected a given image of integers {shape[1:]}, or one for each of {num} samples, got {image.dtype} "
            f"{tuple(image.shape)}"
        )
    low, high = (int(level) for level in image.aminmax())  # uint8 cannot be compared with 256
    if low < 0 or high >= num_levels:
        raise ValueError(f"expected a given image of levels 0..{num_levels - 1}, got {low}..{high}")
    if isinstance(known, Tensor) and known.dim():
        if known.dtype != torch.bool or known.shape not in ((height, width), (num, height, width)):
            raise ValueError(
                f"expected a mask bool {height, width}, or one for each of {num} samples, got {known.dtype} "
                f"{tuple(known.shape)}"
            )
        return known.view(-1, 1, height, width)
    check_counts(at_least=0, num_known_rows=known)
    if known > height:
        raise ValueError(f"num_known_rows must be in 0..{height}, got {known}")
    return (torch.arange(height) < known)[:, None].expand(1, 1, height, width)
