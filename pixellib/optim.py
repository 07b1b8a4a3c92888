"""What moves weights: Muon, schedules of the learning rate, and the exponential moving average of weights.

K. Jordan, Y. Jin, V. Boza, J. You, F. Cesista, L. Newhouse and J. Bernstein, "Muon: an optimizer for hidden layers in
neural networks", 2024. `torch.optim.Muon` takes matrices only and multiplies them in bfloat16; on a processor without
bfloat16 that takes longer than the rest of a step.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

_QUINTIC = (3.4445, -4.7750, 2.0315)  # the authors' coefficients: small singular values grow fast, those near 1 stay

# Each schedule gives the factor of the learning rate in a step, counted from 0, of `steps`; `decay` is a setting that
# some have. A new schedule is a new entry. "wsd" (warm up, stable, decay) is of Hu et al. 2024, "MiniCPM".
SCHEDULES: dict[str, Callable[[int, int, float], float]] = {
    "constant": lambda step, steps, decay: 1.0,
    "cosine": lambda step, steps, decay: 0.5 * (1 + math.cos(math.pi * step / steps)),
    "exponential": lambda step, steps, decay: decay**step,
    "wsd": lambda step, steps, decay: min(1.0, (1 - step / steps) / decay),
}


class Muon(torch.optim.Optimizer):
    """Gradient descent with Nesterov momentum, the matrix of each step made nearly orthogonal (see `orthogonal`).

    params: kernels, float (C_out, ...), each taken as a matrix of C_out rows. lr: the length of a step along each
    singular direction; for a matrix with more rows than columns it is multiplied by the root of their ratio. momentum:
    the share of the old mean of gradients in the new one.

    >>> kernel = nn.Parameter(torch.zeros(2, 2, 1, 1))
    >>> optimiser = Muon([kernel], lr=0.1)
    >>> kernel.sum().backward()
    >>> optimiser.step()
    >>> bool((kernel < 0).all())
    True
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """closure: computes gradients anew, and the loss, which is returned, as for the optimisers of PyTorch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for kernel in group["params"]:
                if kernel.grad is not None:
                    by_shape.setdefault(kernel.shape, []).append(kernel)
            for kernels in by_shape.values():
                self._step(kernels, group["lr"], group["momentum"])
        return loss

    def _step(self, kernels: list[nn.Parameter], lr: float, momentum: float) -> None:
        """A step of kernels of one shape. They are made orthogonal together: many small products cost more apart."""
        ahead = []
        for kernel in kernels:
            state = self.state[kernel]
            mean = state["mean"] = state["mean"] if state else torch.zeros_like(kernel)
            mean.lerp_(kernel.grad, 1 - momentum)
            ahead.append(kernel.grad.lerp(mean, momentum).flatten(1))
        steps = orthogonal(torch.stack(ahead))
        rows, columns = steps.shape[1:]
        for kernel, step in zip(kernels, steps, strict=True):
            kernel.sub_(step.view_as(kernel), alpha=lr * max(1, rows / columns) ** 0.5)


def orthogonal(matrices: Tensor, num_iterations: int = 5) -> Tensor:
    """U V' for each matrix U S V', float (..., M, N), nearly: singular values that were not tiny become 0.7 to 1.2.

    Iterates an odd polynomial of the matrix. It acts on the singular values alone, so no decomposition is needed.

    >>> torch.linalg.svdvals(orthogonal(torch.diag(torch.tensor([1.0, 5.0])))).round().tolist()
    [1.0, 1.0]
    """
    a, b, c = _QUINTIC
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT
    x = x / x.flatten(-2).norm(dim=-1).clamp(min=1e-12)[..., None, None]
    for _ in range(num_iterations):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x if wide else x.mT


def averaged_model(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model whose `update_parameters(model)` moves its weights to the exponential moving average.

    decay: of the average per update; in update t at most (1 + t) / (10 + t), so that the first weights are soon
    forgotten. Buffers are copied, not averaged.

    >>> model = nn.Linear(1, 1)
    >>> average = averaged_model(model, 0.999)
    >>> average.update_parameters(model)
    >>> torch.equal(average.module.weight, model.weight)
    True
    """

    def update(averaged: list[Tensor], current: list[Tensor], num_averaged: Tensor) -> None:
        t = average.n_averaged.item()  # on the CPU, where num_averaged is on the device: a GPU need not wait
        get_ema_multi_avg_fn(min(decay, (1 + t) / (10 + t)))(averaged, current, num_averaged)

    average = AveragedModel(model, multi_avg_fn=update)
    return average
