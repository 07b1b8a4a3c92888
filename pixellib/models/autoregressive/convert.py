"""Published weights -> our models."""

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from pixellib.likelihoods import LogisticMixture
from pixellib.models.autoregressive.layers import CausalUpsample2d
from pixellib.models.autoregressive.pixelcnnpp import PixelCNNpp

AVERAGE = "/ExponentialMovingAverage"


def openai_pixelcnnpp(arrays: Mapping[str, np.ndarray]) -> PixelCNNpp:
    """The PixelCNN++ whose variables its authors published, by name: "model/conv2d_0/V", ".../g", ".../b" and so on.

    Their checkpoint is read with TensorFlow: `r = tf.train.load_checkpoint(path)`, and then
    `{name: r.get_tensor(name) for name in r.get_variable_to_shape_map()}`. Where there is an exponential average of a
    variable it is taken; variables outside "model/", such as the optimiser's, are ignored. Depth, width and number of
    components follow from the arrays. The model is in eval mode. ValueError naming what is missing, superfluous (as the
    weights of a class are) or of another shape.
    """
    values = {name: arrays[name + AVERAGE if name + AVERAGE in arrays else name] for name in _plain_names(arrays)}
    layers = {name.rpartition("/")[0] for name in values if re.fullmatch(r"model/\w+_\d+/\w", name)}
    num_resnets, rest = divmod(len(layers) - 24, 33)
    first, head = (
        np.shape(values.get(f"model/{name}", ())) for name in ("conv2d_0/V", f"dense_{9 * num_resnets + 4}/b")
    )
    if rest or num_resnets < 1 or len(first) != 4 or len(head) != 1:
        raise ValueError(
            "expected the variables of 33 n + 24 layers, from model/conv2d_0 to model/dense_(9 n + 4); "
            f"got {len(values)} variables of {len(layers)} layers{_some(set(values))}"
        )
    channels = first[2] - 1
    num_components, rest = divmod(head[0], 3 if channels == 1 else 10)
    if rest or channels not in (1, 3):
        raise ValueError(f"{head[0]} parameters for {channels} channels are no mixture of logistics")
    model = PixelCNNpp(channels, first[3], num_resnets, LogisticMixture(num_components))
    _fill(model, values)
    return model.eval()


def _plain_names(arrays: Mapping) -> set[str]:
    return {name.removesuffix(AVERAGE) for name in arrays if name.startswith("model/")}


@torch.no_grad()
def _fill(model: PixelCNNpp, values: Mapping[str, np.ndarray]) -> None:
    """Copy the variables into the model, all or none."""
    counts, targets = Counter(), {}
    for layer in model.convolutions():
        kind = _kind(layer)
        name = f"model/{kind}_{counts[kind]}"
        counts[kind] += 1
        weight = layer.parametrizations.weight
        targets |= {f"{name}/V": weight.original1, f"{name}/g": weight.original0, f"{name}/b": layer.bias}
    missing, surplus = set(targets) - set(values), set(values) - set(targets)
    if missing or surplus:
        raise ValueError(
            f"{len(missing)} variables are missing{_some(missing)}, {len(surplus)} too many{_some(surplus)}"
        )
    ours = {name: _in_our_order(name, np.asarray(values[name])) for name in targets}
    for name, target in targets.items():
        expected = target.numel() if name.endswith("/g") else tuple(target.shape)
        if ours[name].shape != torch.Size(np.atleast_1d(expected)):
            raise ValueError(f"{name} has shape {np.shape(values[name])}, which does not fit the others")
    for name, target in targets.items():
        target.copy_(ours[name].view(target.shape))


def _kind(layer: nn.Module) -> str:
    if isinstance(layer, CausalUpsample2d):
        return "deconv2d"
    return "dense" if layer.weight.shape[2:] == (1, 1) else "conv2d"


def _in_our_order(name: str, value: np.ndarray) -> torch.Tensor:
    """Kernels (height, width, in, out) or, of transposed ones, (height, width, out, in); dense ones (in, out)."""
    value = torch.from_numpy(np.array(value, dtype=np.float32))
    if not name.endswith("/V"):
        return value
    return value.permute(3, 2, 0, 1) if value.dim() == 4 else value.T[..., None, None]


def _some(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return f" ({shown}{', ...' if len(names) > 3 else ''})" if names else ""
