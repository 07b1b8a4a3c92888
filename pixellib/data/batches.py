"""The order in which a training sees its images."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pixellib.seeds import sequence_seed


def minibatches(num_images: int, batch_size: int, seed: int = 0, start: int = 0) -> Iterator[Tensor]:
    """Without end: the indices of the images of batch `start`, `start` + 1, ..., int64 (batch_size,).

    Each epoch goes through all images in a new order; those that do not fill a batch at its end are left out. The
    order depends on seed and epoch alone, so a resumed training sees the batches that it would have seen.

    >>> batches = minibatches(4, 2)
    >>> first, second = next(batches), next(batches)
    >>> sorted([*first.tolist(), *second.tolist()])
    [0, 1, 2, 3]
    >>> torch.equal(next(minibatches(4, 2, start=1)), second)
    True
    """
    per_epoch = num_images // batch_size
    epoch, first = divmod(start, per_epoch)
    while True:
        order = torch.randperm(num_images, generator=torch.Generator().manual_seed(sequence_seed(seed, epoch)))
        for i in range(first, per_epoch):
            yield order[i * batch_size : (i + 1) * batch_size]
        epoch, first = epoch + 1, 0
