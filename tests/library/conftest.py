import pytest
from torch.distributions import Distribution


@pytest.fixture(autouse=True)
def validating():
    """Distributions check their arguments in every test; torch.compile switches that off for the whole process."""
    Distribution.set_default_validate_args(True)
