"""Normalising flows of dequantised images."""

from pixellib.models.flows.check import assert_invertible
from pixellib.models.flows.flow import Flow

__all__ = ["Flow", "assert_invertible"]
