"""Log-probabilities whose gradient is computed along with them, in one pass over the parameters.

PyTorch's own differentiation would keep every intermediate tensor of a log-probability for the backward pass. Here the
forward pass computes the derivatives too, slice by slice, while a slice is in the processor's cache, and keeps nothing
else.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

REFUSAL = (
    "log_prob computes its gradient along with its value, and has no {}; use "
    "log_prob_per_pixel(x, fused=False).sum((-2, -1)), which is slower and can be differentiated in any way"
)

Function = Callable[[Tensor, Sequence[Tensor], bool], tuple[Tensor, Sequence[Tensor]]]


def with_gradient(function: Function, x: Tensor, *tensors: Tensor, num_trailing: int) -> Tensor:
    """The value of `function`, whose backward pass uses the derivatives that `function` gave.

    function(x, tensors, wanted) returns the value and, if wanted is true, one tensor of derivatives for each of
    `tensors`, else none. x and the tensors have the same number of batch dimensions in front, over which the function
    maps, and each element of the value depends on tensors only where they share its batch index and its last
    `num_trailing` dimensions. So the value's shape is (*batch, *trailing), a tensor's (*batch, ..., *trailing).

    `torch.func.grad` and `torch.vmap` work. RuntimeError with a plain sentence for second derivatives and for
    forward-mode differentiation.
    """
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    # An empty tensor that depends on all parameters: through it a second derivative finds `_Product`, which refuses,
    # where otherwise it would be silently zero. It keeps no parameter alive.
    anchor = torch.cat([t[..., :0].flatten().to(tensors[0].dtype) for t in tensors]) if wanted else None
    return _Fused.apply(function, wanted, num_trailing, anchor, x, *tensors)[0]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(function: Function, wanted: bool, num_trailing: int, anchor, x: Tensor, *tensors: Tensor):
        value, derivatives = function(x, tensors, wanted)
        return value, *derivatives

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, _, ctx.num_trailing, anchor, *_ = inputs
        derivatives = output[1:]
        ctx.mark_non_differentiable(*derivatives)
        ctx.set_materialize_grads(False)  # or the backward pass would be given a tensor of zeros for each of them
        ctx.save_for_backward(anchor, *derivatives)

    @staticmethod
    def backward(ctx, grad: Tensor | None, *_):
        anchor, *derivatives = ctx.saved_tensors
        if grad is None:
            return (None,) * (5 + len(derivatives))
        return None, None, None, None, None, *_Product.apply(ctx.num_trailing, anchor, grad, *derivatives)

    @staticmethod
    def jvp(ctx, *tangents):
        raise RuntimeError(REFUSAL.format("forward-mode derivative"))

    @staticmethod
    def vmap(info, in_dims, function: Function, wanted: bool, num_trailing: int, anchor, x: Tensor, *tensors: Tensor):
        """The mapped dimension becomes one more batch dimension."""

        def in_front(t: Tensor, dim: int | None) -> Tensor:
            return t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)

        _, _, _, dim_of_anchor, *dims = in_dims
        if anchor is not None and dim_of_anchor is not None:
            anchor = anchor.flatten()  # it is empty, whatever its shape
        mapped = (in_front(t, dim) for t, dim in zip((x, *tensors), dims, strict=True))
        output = _Fused.apply(function, wanted, num_trailing, anchor, *mapped)
        return output, (0,) * len(output)


class _Product(torch.autograd.Function):
    """The derivatives times what comes from above: a gradient that must not be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(num_trailing: int, anchor: Tensor, grad: Tensor, *derivatives: Tensor):
        num_batch = grad.dim() - num_trailing
        products = []
        for derivative in derivatives:
            between = [1] * (derivative.dim() - grad.dim())
            above = grad.reshape(*grad.shape[:num_batch], *between, *grad.shape[num_batch:])
            products.append((derivative * above).to(derivative.dtype))
        return tuple(products)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(REFUSAL.format("second derivative"))

    @staticmethod
    def jvp(ctx, *tangents):
        raise RuntimeError(REFUSAL.format("second derivative"))
