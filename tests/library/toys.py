"""A base for the small models of tests, which train or score but neither draw images nor always have a likelihood."""

from pixellib.models import ImageModel


class Toy(ImageModel):
    """An image model that defines what has to be defined."""

    kind = "exact"

    def log_prob(self, x, condition=None):
        raise NotImplementedError

    def sample(self, num_samples, *, condition=None, generator=None):
        raise NotImplementedError
