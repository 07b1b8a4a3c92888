"""A test for invertible layers: a flow whose inverse or log-determinant is wrong trains without complaint."""

import torch
from torch import Tensor, nn
from torch.func import jacrev


def assert_invertible(layer: nn.Module, z: Tensor, atol: float = 1e-4, **options: Tensor) -> None:
    """Check that `layer.inverse` undoes `layer(z)`, and that its second result is the log of |det Jacobian|.

    z: float (B, ...), with few numbers in each image, because the whole Jacobian is made. options: passed on to both.
    AssertionError says what fails and by how much.

    >>> from pixellib.models.flows.layers import Squeeze
    >>> assert_invertible(Squeeze(), torch.randn(2, 1, 4, 4))
    """
    with torch.no_grad():
        y, log_det = layer(z, **options)
        error = (layer.inverse(y, **options) - z).abs().max().item()
        _require(error <= atol, f"the inverse is off by up to {error:.2g}")
        other = torch.randn_like(y)
        error = (layer(layer.inverse(other, **options), **options)[0] - other).abs().max().item()
        _require(error <= atol, f"layer(layer.inverse(y)) differs from y by up to {error:.2g}")
    for i in range(len(z)):
        one = {name: value[i, None] for name, value in options.items()}
        jacobian = jacrev(lambda v, one=one: layer(v[None], **one)[0].flatten())(z[i]).flatten(1)
        exact = torch.linalg.slogdet(jacobian)[1]
        error = (log_det[i] - exact).abs().item()
        _require(error <= atol * z[i].numel(), f"the log-determinant is off by {error:.2g}")


def _require(holds: bool, otherwise: str) -> None:
    """An assertion that `python -O` keeps."""
    if not holds:
        raise AssertionError(otherwise)
