"""Muon: steps for kernels that change all directions of their input equally.

K. Jordan, Y. Jin, V. Boza, J. You, F. Cesista, L. Newhouse and J. Bernstein, "Muon: an optimizer for hidden layers in
neural networks", 2024. `torch.optim.Muon` is for matrices only and multiplies them in bfloat16, which takes a processor
without it longer than all the rest of a step.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.7750, 2.0315)  # of the authors: steepest at 0, keeps what is near 1 near 1


class Muon(torch.optim.Optimizer):
    """Gradient descent with Nesterov momentum whose every step is made nearly orthogonal (see `orthogonal`).

    params: kernels, float (C_out, ...), each taken as a matrix of C_out rows. lr: the length of a step along each
    direction; a matrix with more rows than columns takes one longer by the root of their ratio.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                state = self.state[kernel]
                mean = state.setdefault("mean", torch.zeros_like(kernel))
                mean.lerp_(kernel.grad, 1 - group["momentum"])
                step = orthogonal(kernel.grad.lerp(mean, group["momentum"]).flatten(1))
                rows, columns = step.shape
                kernel.sub_(step.view_as(kernel), alpha=group["lr"] * max(1, rows / columns) ** 0.5)


def orthogonal(matrix: Tensor, num_iterations: int = 5) -> Tensor:
    """U V' for a matrix U S V', float (M, N), nearly: singular values that were not tiny become about 0.7 to 1.2.

    Iterates an odd polynomial, which acts on the singular values alone, so that nothing is decomposed.
    """
    a, b, c = _QUINTIC
    flat = matrix.shape[0] <= matrix.shape[1]
    x = matrix if flat else matrix.mT
    x = x / x.norm().clamp(min=1e-12)
    for _ in range(num_iterations):
        square = x @ x.mT
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x if flat else x.mT
