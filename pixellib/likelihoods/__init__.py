"""Observation models p(x | parameters): from a network's output to the probability of an image."""

from pixellib.likelihoods.bernoulli import Bernoulli
from pixellib.likelihoods.interface import Likelihood

__all__ = ["Bernoulli", "Likelihood"]
