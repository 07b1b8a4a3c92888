"""Seeds of random numbers: their range, and generators that depend on nothing else."""

from numbers import Integral

import torch

NUM_SEEDS = 2**32


def check_seed(seed: int) -> int:
    """The seed, or ValueError if it is not an integer from 0 to 2^32 - 1.

    >>> check_seed(7)
    7
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < NUM_SEEDS:
        too_long = isinstance(seed, int) and seed.bit_length() > 100
        raise ValueError(f"seed must be an integer from 0 to 2^32 - 1, got {'a longer one' if too_long else seed}")
    return int(seed)


def sequence_seed(seed: int, number: int) -> int:
    """A seed for item `number` (an epoch, a batch) of a sequence that is seeded by `seed`.

    >>> sequence_seed(2, 5)
    2000011
    """
    return seed * 1_000_003 + number


def seed_step(seed: int, step: int, world: int, rank: int, device: torch.device) -> None:
    """Seed PyTorch's global generators for a step of training by (seed, step, process).

    A resumed training then needs no generator state.

    >>> with torch.random.fork_rng():
    ...     seed_step(seed=0, step=3, world=1, rank=0, device=torch.device("cpu"))
    ...     torch.initial_seed()
    3
    """
    seed_global((seed * 0x9E3779B1 + step * world + rank) % 2**32, device)


def seed_global(number: int, device: torch.device) -> None:
    """Seed PyTorch's global generators of the CPU and of this device. Those of other devices keep their state, unlike
    with `torch.manual_seed`, so that `torch.random.fork_rng([device])` restores all that was changed.

    >>> with torch.random.fork_rng():
    ...     seed_global(3, torch.device("cpu"))
    ...     torch.initial_seed()
    3
    """
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(number)
