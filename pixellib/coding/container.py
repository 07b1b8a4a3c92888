"""The file format: a header that says what the decoder must know, and blocks of code words, each with a checksum."""

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

MAGIC, VERSION = b"pixellib", 1
MOST_HEADER = 4096  # bytes; a longer header is none of ours
START = struct.Struct("<8sHII")  # magic, version, length of the header, its checksum
BLOCK = struct.Struct("<II")  # length of what follows, its checksum
IMAGES = struct.Struct("<I")  # with which it begins: the checksum of the images that the code words stand for


class CodingError(ValueError):
    """A file that cannot be decoded, and why."""


@dataclass(frozen=True)
class Block:
    """Code words, uint32, and the checksum of the images that they stand for."""

    words: np.ndarray
    checksum: int


def pack(header: Mapping[str, Any], blocks: Sequence[Block]) -> bytes:
    """A file's bytes."""
    content = json.dumps(header).encode()
    parts = [START.pack(MAGIC, VERSION, len(content), zlib.crc32(content)), content]
    for block in blocks:
        content = IMAGES.pack(block.checksum) + block.words.astype("<u4").tobytes()
        parts += [BLOCK.pack(len(content), zlib.crc32(content)), content]
    return b"".join(parts)


def unpack(data: bytes) -> tuple[dict[str, Any], list[Block]]:
    """The header and the blocks of a file. CodingError for bytes that are none, or whose checksums do not fit."""
    data = bytes(data)
    if len(data) < START.size or not data.startswith(MAGIC):
        raise CodingError("this is not a file of compressed images: it does not begin with their magic number")
    _, version, length, checksum = START.unpack_from(data)
    if version != VERSION:
        raise CodingError(f"the file has version {version} of the format, which this program cannot read")
    content = data[START.size : START.size + length]
    if length > MOST_HEADER or len(content) < length or zlib.crc32(content) != checksum:
        raise CodingError("the file is truncated or altered: its header does not match its checksum")
    header, position, blocks = json.loads(content), START.size + length, []
    while position < len(data):
        start = position + BLOCK.size
        length, checksum = BLOCK.unpack_from(data.ljust(start, b"\0"), position)
        content, position = data[start : start + length], start + length
        if len(content) < max(length, IMAGES.size) or zlib.crc32(content) != checksum:
            raise CodingError(f"the file is truncated or altered: block {len(blocks) + 1} does not match its checksum")
        words = np.frombuffer(content[IMAGES.size :], "<u4").astype(np.uint32)
        blocks.append(Block(words, *IMAGES.unpack_from(content)))
    return header, blocks


def header_of(data: bytes) -> dict[str, Any]:
    """What a file says of itself: "images" [N, C, H, W], "model" (the SHA-256 of its weights in memory, which are not
    those of a checkpoint in half precision), "batch_size", "precision", "threads", "torch" (its version) and
    "hardware". CodingError for bytes that are no such file.
    """
    return unpack(data)[0]


def num_code_bytes(data: bytes) -> int:
    """How many bytes of a file are code words: all but header and checksums. CodingError as `header_of`."""
    return sum(block.words.nbytes for block in unpack(data)[1])


def checksum(images: Tensor) -> int:
    """Of images uint8."""
    return zlib.crc32(images.cpu().contiguous().numpy().data)
