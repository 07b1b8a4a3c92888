"""Observation models p(x | parameters): from a network's output to the probability of an image.

A likelihood, such as `LogisticMixture`, says how a network's output is read; calling it gives a distribution of images.
The distributions, such as `DiscretizedLogisticMixture`, can also be built from explicit tensors.
"""

from pixellib.likelihoods.base import ImageDistribution, Likelihood, NotFiniteError
from pixellib.likelihoods.bernoulli import Bernoulli, BernoulliImages, GreyBernoulli, GreyBernoulliImages
from pixellib.likelihoods.categorical import Categorical, CategoricalImages
from pixellib.likelihoods.discretized_logistic import DiscretizedLogistic, DiscretizedLogisticImages
from pixellib.likelihoods.gaussian import Gaussian, GaussianImages
from pixellib.likelihoods.logistic_mixture import (
    DiscretizedLogisticMixture,
    LogisticMixture,
    published_log_prob_per_pixel,
)
from pixellib.likelihoods.permuted import Permuted, PermutedImages

__all__ = [
    "Bernoulli",
    "BernoulliImages",
    "Categorical",
    "CategoricalImages",
    "DiscretizedLogistic",
    "DiscretizedLogisticImages",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "GaussianImages",
    "GreyBernoulli",
    "GreyBernoulliImages",
    "ImageDistribution",
    "Likelihood",
    "LogisticMixture",
    "NotFiniteError",
    "Permuted",
    "PermutedImages",
    "published_log_prob_per_pixel",
]
