"""Observation models p(x | parameters): from a network's output to the probability of an image."""

from pixellib.likelihoods.base import Likelihood
from pixellib.likelihoods.bernoulli import Bernoulli, GreyBernoulli
from pixellib.likelihoods.categorical import Categorical
from pixellib.likelihoods.discretized_logistic import DiscretizedLogistic
from pixellib.likelihoods.gaussian import Gaussian
from pixellib.likelihoods.logistic_mixture import LogisticMixture, published_log_prob_per_pixel
from pixellib.likelihoods.permuted import Permuted

__all__ = [
    "Bernoulli",
    "Categorical",
    "DiscretizedLogistic",
    "Gaussian",
    "GreyBernoulli",
    "Likelihood",
    "LogisticMixture",
    "Permuted",
    "published_log_prob_per_pixel",
]
