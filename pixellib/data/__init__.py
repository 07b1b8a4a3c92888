"""Bytes to uint8 tensors: the data sets, and the transforms between stored images and models."""

from pixellib.data.datasets import NAMES, SPLITS, describe, load
from pixellib.data.transforms import IntensityPermutation, binarise, grey, scale, unscale

__all__ = [
    "NAMES",
    "SPLITS",
    "IntensityPermutation",
    "binarise",
    "describe",
    "grey",
    "load",
    "scale",
    "unscale",
]
