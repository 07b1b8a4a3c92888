"""What several tests need: one thread, real images, random numbers that do not depend on other tests."""

import os

import pytest
import torch

from pixellib import data


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Workers share out files, whose tests share what they set up; a notebook, which takes a minute, goes by itself."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """The tests are many small computations, several files side by side; and bytes may depend on the number of threads.
    For the processes that tests start, too.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> torch.Tensor:
    """The first 2,000 training images of MNIST, uint8 (2000, 1, 28, 28)."""
    return data.load("mnist", "train")[0][:2000].clone()


@pytest.fixture(autouse=True)
def same_random_state():
    """Initial weights are drawn from torch's own generator; a test must not depend on which tests ran before it."""
    torch.manual_seed(0)
