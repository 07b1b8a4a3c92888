"""Ancestral sampling from any autoregressive model, computing nothing twice.

The idea of keeping activations is Ramachandran et al. 2017, "Fast generation for convolutional autoregressive models".
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parametrize
from tqdm.auto import tqdm

from pixellib import devices
from pixellib.models.autoregressive.layers import Step


def sample(
    model,
    num_samples: int,
    *,
    size: Sequence[int],
    condition=None,
    generator: torch.Generator | None = None,
    given: tuple[Tensor, int] | None = None,
    temperature: float = 1.0,
    cached: bool = True,
    precision: str = "auto",
    progress: bool = False,
) -> Tensor:
    """Images drawn pixel by pixel from an AutoregressiveModel, uint8 (num_samples, C, H, W), on the model's device.

    size: (H, W), any that the network allows. given: (image, num_known_rows), the image uint8 (C, H, W) or
    (num_samples, C, H, W); its first rows are kept and the rest is drawn. temperature: each sub-pixel is drawn from
    p^(1/T), normalised; below 1 more probable, above 1 more varied. cached: keep activations; without it, a forward
    pass per sub-pixel, which gives the same images slowly. precision: of the network, "fp32", "bf16" or "auto", bf16
    where the device has it; likelihoods always compute in float32. A model in float64 stays there.

    ValueError for counts, sizes or temperatures that are not positive, and a given image or condition that does not
    fit.
    """
    height, width = size
    if num_samples < 1 or height < 1 or width < 1:
        raise ValueError(f"expected a positive number and size of images, got {num_samples} of {height} x {width}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    model.check_size(size)
    device = next(model.parameters()).device
    x = torch.zeros(num_samples, model.channels, height, width, dtype=torch.uint8, device=device)
    num_known = 0
    if given is not None:
        num_known = _check_given(given, x, getattr(model.likelihood, "num_levels", 256))
        x[:, :, :num_known] = given[0][..., :num_known, :]
    condition = model.check_condition(condition, num_samples, size)
    was_training = [module for module in model.modules() if module.training]
    model.eval()
    passes = (cached_params if cached else naive_params)(model, x, condition, num_known, progress)
    try:
        # cached(): weights are normalised once
        with torch.inference_mode(), parametrize.cached(), devices.autocast(device, precision):
            for (row, column, group), params in passes:
                channel = slice(None) if group is None else slice(group, group + 1)
                drawn = _draw(model.likelihood(params), temperature, generator)
                x[:, channel, row, column] = drawn[..., 0, 0]
    finally:
        passes.close()
        for module in was_training:
            module.training = True
    return x


def naive_params(model, x: Tensor, condition, num_known: int, progress: bool = False) -> Iterator:
    """(row, column, group) and the parameters (B, P, 1, 1) there, given what x holds by then; a pass for each."""
    index = _parameters_of(model)
    for row in tqdm(range(num_known, x.shape[-2]), desc="sample", unit="row", disable=not progress):
        for column in range(x.shape[-1]):
            for group in index:
                params = model.params(x, condition)[:, index[group], row, column]
                yield (row, column, group), params[..., None, None]


def cached_params(model, x: Tensor, condition, num_known: int, progress: bool = False) -> Iterator:
    """The same. The vertical stream steps by row; the horizontal one by pixel, and by row where the row is known."""
    memory, groups, ordered = {}, _parameters_of(model), model.channel_autoregressive
    condition = model.embed(condition)
    height, width = x.shape[-2:]
    blank = model.inputs(x[:, :, :1]) * 0
    with tqdm(total=height - num_known, desc="sample", unit="row", disable=not progress) as bar:
        try:
            for row in range(height):
                of_row = [c if c.shape[-2] == 1 else c[..., row, None, :] for c in condition]
                step = Step(row, width, memory=memory)
                vertical = model.vertical(model.inputs(x[:, :, row - 1, None]) if row else blank, of_row, step)
                if row < num_known:
                    y = model.inputs(x[:, :, row, None])
                    model.horizontal(F.pad(y, (1, -1)), y, vertical, of_row, step)
                    continue
                for column in range(width):
                    left = model.inputs(x[:, :, row, column - 1, None, None]) if column else blank[..., :1]
                    for group in groups:
                        step = Step(row, width, column, group, memory)
                        pixel = model.inputs(x[:, :, row, column, None, None]) if ordered else left
                        yield (row, column, group), model.horizontal(left, pixel, vertical, of_row, step)
                bar.update()
        finally:
            memory.clear()  # also when interrupted, and somebody keeps the traceback


def _parameters_of(model) -> dict:
    """For each channel that is drawn on its own, which parameters it needs; all of them for channels drawn together."""
    groups = model.parameter_groups()
    if groups is None:
        return {None: slice(None)}
    return {channel: (groups == channel).nonzero().flatten() for channel in range(model.channels)}


def _draw(pixels, temperature: float, generator: torch.Generator | None) -> Tensor:
    """A value for each pixel, uint8 (B, C, 1, 1), the channels in order."""
    x = pixels.sample(generator=generator)
    if temperature == 1:
        return x
    for channel in range(x.shape[1]):  # what was drawn above is replaced, channel by channel
        log_p = pixels.conditional_log_pmf(x)[:, :, channel, 0, 0]
        drawn = torch.multinomial((log_p / temperature).softmax(1), 1, generator=generator)[:, 0]
        values = torch.tensor(getattr(pixels, "values", range(log_p.shape[1])), device=x.device)
        x[:, channel, 0, 0] = values[drawn].to(x.dtype)
    return x


def _check_given(given: tuple[Tensor, int], x: Tensor, num_levels: int) -> int:
    """The number of known rows. ValueError if image or number do not fit the images x that are to be drawn."""
    image, num_known = given
    if image.dtype != torch.uint8 or image.shape not in (x.shape, x.shape[1:]):
        raise ValueError(
            f"expected a given image uint8 {tuple(x.shape[1:])}, or one for each of {len(x)} samples, "
            f"got {image.dtype} {tuple(image.shape)}"
        )
    if int(image.max()) >= num_levels:  # a uint8 tensor knows no 256
        raise ValueError(f"expected a given image of levels 0..{num_levels - 1}, got up to {int(image.max())}")
    if not 0 <= num_known <= x.shape[-2]:
        raise ValueError(f"num_known_rows must be in 0..{x.shape[-2]}, got {num_known}")
    return num_known
