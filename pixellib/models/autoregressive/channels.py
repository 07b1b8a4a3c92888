"""The colour channel that each feature belongs to, in models that are autoregressive over channels.

`channel_index`, int64 (F,), says it; `feature_channels` gives every channel the same number of features, side by side.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn


class ChannelIndex(nn.Module):
    """The features of each colour channel: `index[channel]` selects them from a dimension of F features.

    channel_index: int64 (F,), on the CPU: the channel 0, 1, ... that each feature belongs to. A selection is a slice
    where the features of every channel lie side by side, so that nothing is copied, and otherwise int64 indices, a
    buffer that moves with the module and is not part of its state.

    >>> ChannelIndex(torch.tensor([0, 0, 1, 1]))[1]
    slice(2, 4, None)
    >>> ChannelIndex(torch.tensor([0, 1, 0, 1]))[1]
    tensor([1, 3])
    """

    def __init__(self, channel_index: Tensor):
        super().__init__()
        order = channel_index.argsort(stable=True)
        ends = channel_index.bincount().cumsum(0).tolist()
        self.slices = [slice(first, last) for first, last in pairwise([0, *ends])]
        side_by_side = torch.equal(order, torch.arange(len(order), device=order.device))
        indices = None if side_by_side else order.to(torch.get_default_device())
        self.register_buffer("indices", indices, persistent=False)

    def __getitem__(self, channel: int) -> slice | Tensor:
        part = self.slices[channel]
        return part if self.indices is None else self.indices[part]


def feature_channels(num_features: int, num_blocks: int) -> Tensor | None:
    """The colour channel of each feature, int64 (F,), in equal blocks; None where there is one block.

    ValueError if the blocks do not divide the features.

    >>> feature_channels(6, 3)
    tensor([0, 0, 1, 1, 2, 2])
    """
    if num_blocks == 1:
        return None
    if num_features % num_blocks:
        nearest = num_features - num_features % num_blocks
        choices = " or ".join(str(num) for num in (nearest, nearest + num_blocks) if num)
        raise ValueError(f"{num_features} features do not divide into {num_blocks} ordered channels; take {choices}")
    return torch.arange(num_blocks, device="cpu").repeat_interleave(num_features // num_blocks)


def index_of(channel_index: Tensor | None) -> ChannelIndex | None:
    """The ChannelIndex, or None where features belong to no channel."""
    return None if channel_index is None else ChannelIndex(channel_index)
