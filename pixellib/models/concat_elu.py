"""The concatenated ELU, the activation of PixelCNN++ and of the flows' gated networks.

Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by exponential linear units", ICLR 2016;
concatenated as in Shang, Sohn, Almeida and Lee, "Understanding and improving convolutional neural networks via
concatenated rectified linear units", ICML 2016.
"""

import torch
from torch import Tensor

from pixellib.devices import autocast_dtype


def interleave(streams: list[Tensor], num_blocks: int) -> Tensor:
    """Features of several streams, (B, F, H, W) each, side by side within each block. Keeps their layout in memory.

    >>> interleave([torch.zeros(1, 4, 1, 1), torch.ones(1, 4, 1, 1)], num_blocks=2).flatten()
    tensor([0., 0., 1., 1., 0., 0., 1., 1.])
    """
    if num_blocks == 1:
        return torch.cat(streams, 1)
    blocks = zip(*(stream.chunk(num_blocks, 1) for stream in streams), strict=True)
    return torch.cat([part for block in blocks for part in block], 1)


def concat_elu(x: Tensor, num_blocks: int = 1) -> Tensor:
    """elu of x and of -x, so that no sign is lost: twice as many features, side by side within each block.

    x: float (B, F, H, W). Can be differentiated any number of times in reverse mode, by autograd and by `torch.func`,
    and compiled as part of one graph. In forward mode (`torch.func.jvp`) PyTorch says that it is not implemented.

    >>> concat_elu(torch.ones(1, 1, 1, 1)).flatten()
    tensor([ 1.0000, -0.6321])
    """
    if torch.is_grad_enabled():
        return _ConcatElu.apply(x, num_blocks)
    return _ConcatElu.forward(x, num_blocks)  # calling a Function costs more than the elu of a single pixel


class _ConcatElu(torch.autograd.Function):
    """See concat_elu. For the gradient its result is kept, which the next convolution keeps too.

    There is no `jvp`, because torch.compile does not take functions that have one.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, num_blocks: int) -> Tensor:
        x = x.to(autocast_dtype(x))  # as the next convolution wants it
        minus = -x
        falling = torch.minimum(x, minus).expm1_()  # one exponential for both: elu(x) is max(x, expm1(-|x|))
        return interleave([torch.maximum(x, falling), torch.maximum(minus, falling)], num_blocks)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, int], output: Tensor) -> None:
        x, ctx.num_blocks = inputs
        ctx.dtype = x.dtype
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        """Made of differentiable operations, so that it has a gradient itself."""
        (output,) = ctx.saved_tensors
        grad = torch.ops.aten.elu_backward(grad, 1, 1, 1, True, output)  # below zero the slope is the value + 1
        plus, minus = grad.unflatten(1, (ctx.num_blocks, 2, -1)).unbind(2)
        return (plus - minus).flatten(1, 2).to(ctx.dtype), None
