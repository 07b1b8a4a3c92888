"""`compress` and `decompress`: images to bytes and back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from tqdm.auto import tqdm

from pixellib import checkpoints, devices
from pixellib.coding import bits_back, pixel_by_pixel
from pixellib.coding.container import Block, CodingError, checksum, pack, unpack
from pixellib.models.base import ImageModel, eval_mode
from pixellib.models.checks import check_counts, check_images, check_sampling, refuse_condition

MOST_THREADS = 1024  # that a file can ask for


def compress(
    model: ImageModel,
    images: Tensor,
    *,
    condition: Tensor | None = None,
    batch_size: int = 250,
    precision: str = "auto",
    progress: bool = False,
) -> bytes:
    """Images, uint8 (N, C, H, W), as bytes from which `decompress` with the same model restores them.

    An autoregressive model takes about -log2 p(x) bits for an image, and up to 160 bits for each block of batch_size
    images. A latent model with one layer of latents takes about the negative evidence lower bound, by bits-back coding;
    it begins with the random bits that the latents of the first batch_size images need, and they count. A likelihood
    that is a density is coded by the probabilities that its `conditional_log_pmf` gives the levels.

    condition: what an autoregressive model is conditioned on; the file does not hold it. precision: of the network, see
    AutoregressiveModel.sample.

    Probabilities become multiples of 2^-24, of which every level has at least one: the first l of L levels together
    have floor((2^24 - L) P) + l of them, where P is their probability in float64.

    ImportError without `constriction`, ValueError for other models, and for images that do not fit or for none.

    >>> from pixellib.models import GatedPixelCNN
    >>> model = GatedPixelCNN(1, (4, 4), num_layers=1, num_filters=4, kernel_size=3)
    >>> images = torch.randint(256, (2, 1, 4, 4), dtype=torch.uint8)
    >>> torch.equal(decompress(model, compress(model, images)), images)
    True
    """
    by_pixel = _is_by_pixel(model)
    check_counts(batch_size=batch_size)
    check_images(images, model.channels, None if by_pixel else model.size)
    if images.dtype != torch.uint8 or model.likelihood.num_levels > 256 or not len(images):
        of = f"{model.likelihood.num_levels} levels, {len(images)} of {images.dtype}"
        raise ValueError(f"images are coded if they are one or more of uint8, with at most 256 levels; these have {of}")
    device = check_sampling(model, len(images), images.shape[1:])
    if devices.check_precision(precision) == "auto":
        precision = "bf16" if devices.has_bf16(device) else "fp32"
    header = {
        "images": list(images.shape),
        "model": checkpoints.weights_sha256(model.state_dict()),
        "batch_size": batch_size,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "hardware": devices.hardware(device),
    }
    images = images.to(device).contiguous()  # as the decoder's: other strides may choose other kernels
    batches = images.split(batch_size)
    if by_pixel:
        conditions = _conditions(condition, batches)
        bar = tqdm(zip(batches, conditions, strict=True), "compress", len(batches), unit="batch", disable=not progress)
        blocks = [Block(pixel_by_pixel.encode(model, x, given, precision), checksum(x)) for x, given in bar]
    else:
        refuse_condition(model, condition)
        with eval_mode(model):
            blocks = [Block(bits_back.encode(model, batches, precision, progress), checksum(images))]
    return pack(header, blocks)


def decompress(
    model: ImageModel,
    data: bytes,
    *,
    condition: Tensor | None = None,
    precision: str | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> Tensor:
    """The images, uint8 (N, C, H, W) on the CPU, of which `compress` made the bytes.

    precision, threads: None for what the file says; others are for experiments with decoders that disagree.

    CodingError for bytes that are no such file, were truncated or altered, or were made with another model, and where
    the model does not compute the same probabilities as when they were made. ImportError, ValueError: see `compress`.
    """
    by_pixel = _is_by_pixel(model)
    header, blocks = unpack(data)
    _check_header(header)
    if header["model"] != checkpoints.weights_sha256(model.state_dict()):
        raise CodingError("the file was made with another model: the digests of the weights differ")
    num_images, *shape = header["images"]
    num_blocks = -(-num_images // header["batch_size"]) if by_pixel else 1
    if len(blocks) != num_blocks:
        raise CodingError(f"the file is truncated or altered: it has {len(blocks)} blocks of {num_blocks}")
    device = check_sampling(model, num_images, shape)
    precision = precision or header["precision"]
    images = torch.zeros(header["images"], dtype=torch.uint8, device=device)
    batches = images.split(header["batch_size"])
    with _threads(threads or header["threads"]):
        if by_pixel:
            conditions = _conditions(condition, batches)
            for number, block in enumerate(tqdm(blocks, "decompress", unit="batch", disable=not progress)):
                pixel_by_pixel.decode(model, block.words, batches[number], conditions[number], precision)
                _compare(batches[number], number, blocks, header)
        else:
            with eval_mode(model):
                bits_back.decode(model, blocks[0].words, batches, precision, progress)
            _compare(images, 0, blocks, header)
    return images.cpu()


def _check_header(header: dict) -> None:
    """CodingError unless it has what a decoder needs: a checksum does not tell who wrote it."""
    shape, texts = header.get("images"), ("model", "precision", "torch", "hardware")
    counts = [header.get("batch_size"), header.get("threads"), *(shape if isinstance(shape, list) else [])]
    are_counts = len(counts) == 6 and all(type(n) is int and 0 < n < 2**63 for n in counts)
    if not are_counts or counts[1] > MOST_THREADS or not all(isinstance(header.get(key), str) for key in texts):
        raise CodingError("the file's header is not one that compress writes")


def _is_by_pixel(model: ImageModel) -> bool:
    """Whether it is autoregressive. ValueError if it is not, and has not one layer of latents either."""
    if hasattr(model, "fill"):
        return True
    num_latents = getattr(model, "num_latents", None)
    if isinstance(num_latents, tuple) and len(num_latents) == 1:
        return False
    name = type(model).__name__
    raise ValueError(f"images are coded with autoregressive models or those with one layer of latents, not with {name}")


def _conditions(condition: Tensor | Sequence[int] | None, batches: tuple[Tensor, ...]) -> list[Tensor | None]:
    """That of each batch. ValueError if there is not one for each image."""
    num_images = sum(map(len, batches))
    if condition is None:
        return [None] * len(batches)
    condition = torch.as_tensor(condition)
    if len(condition) != num_images:
        raise ValueError(f"expected a condition for each of {num_images} images, got {len(condition)}")
    return list(condition.split([len(x) for x in batches]))


def _compare(images: Tensor, number: int, blocks: list[Block], header: dict) -> None:
    """CodingError unless these images are those that were encoded in that block."""
    if checksum(images) != blocks[number].checksum:
        raise CodingError(
            f"block {number + 1} of {len(blocks)} was decoded into other images than were encoded, because of another "
            f"condition, other settings of the likelihood or other arithmetic: it was encoded in {header['precision']} "
            f"with torch {header['torch']} on {header['hardware']}"
        )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
