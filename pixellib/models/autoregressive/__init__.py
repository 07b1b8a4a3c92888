"""Models that predict each pixel from those before it in raster order, and what samples and checks them."""

from pixellib.models.autoregressive.base import AutoregressiveModel
from pixellib.models.autoregressive.convert import openai_pixelcnnpp
from pixellib.models.autoregressive.gated_pixelcnn import GatedPixelCNN
from pixellib.models.autoregressive.leak_test import assert_causal
from pixellib.models.autoregressive.pixelcnn import PixelCNN
from pixellib.models.autoregressive.pixelcnnpp import PixelCNNpp
from pixellib.models.autoregressive.two_stream import TwoStreamModel

__all__ = [
    "AutoregressiveModel",
    "GatedPixelCNN",
    "PixelCNN",
    "PixelCNNpp",
    "TwoStreamModel",
    "assert_causal",
    "openai_pixelcnnpp",
]
