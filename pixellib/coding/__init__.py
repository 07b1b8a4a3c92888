"""Images as files: what a model calls -log2 p(x) bits, written down by an entropy coder and read back.

An autoregressive model is used pixel by pixel (`coding.pixel_by_pixel`), a latent model by bits-back coding
(`coding.bits_back`). The entropy coder is the package `constriction`: `pip install pixel-likelihoods[coding]`.

Both sides must compute the same probabilities to the last bit, or the decoder reads something else. So a file names
what they depend on: the model's weights, the size of a batch, the number of threads and the precision. And it holds a
checksum of the images, so that a decoder that read something else says so and returns nothing. Another processor or
another version of PyTorch may add numbers in another order; nothing here prevents that, but it is detected.
"""

from pixellib.coding.codec import compress, decompress
from pixellib.coding.container import CodingError, header_of, num_code_bytes

__all__ = ["CodingError", "compress", "decompress", "header_of", "num_code_bytes"]
