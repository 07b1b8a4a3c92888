"""Bytes to uint8 tensors: the data sets, and the transforms between stored images and models."""

from pixellib.data.datasets import NAMES, SPLITS, describe, load
from pixellib.data.order import cooccurrence, order_by_neighbours, used_first
from pixellib.data.transforms import IntensityPermutation, binarise, dequantise, grey, scale, unscale

__all__ = [
    "NAMES",
    "SPLITS",
    "IntensityPermutation",
    "binarise",
    "cooccurrence",
    "dequantise",
    "describe",
    "grey",
    "load",
    "order_by_neighbours",
    "scale",
    "unscale",
    "used_first",
]
