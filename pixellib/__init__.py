"""Likelihoods, models and loops for the notebook series \"How do you put a probability on a pixel?\"."""

__version__ = "0.1.0"
