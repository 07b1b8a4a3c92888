"""How data/austen/ was made. Usage: make_austen.py Rdata.rdb FOLDER

Rdata.rdb holds the novels in the R package janeaustenr 1.0.0, as Debian's package r-cran-janeaustenr installs it;
README.md beside this script gives its checksum. Each novel is one vector of lines, in R's serialisation, compressed by
zlib.
"""

import lzma
import struct
import sys
import zlib
from pathlib import Path

NOVELS = ("emma", "mansfield park", "northanger abbey", "persuasion", "pride and prejudice", "sense and sensibility")
PARTS = {
    "train": ("emma", "mansfield park", "pride and prejudice", "sense and sensibility", "northanger abbey"),
    "test": ("persuasion",),
}


def objects(database: bytes) -> list[bytes]:
    """The serialised objects: each begins with four bytes for its length, which say nothing that zlib does not."""
    found = []
    while database:
        reader = zlib.decompressobj()
        found.append(reader.decompress(database[4:]))
        database = reader.unused_data
    return found


def lines(serialised: bytes) -> list[str]:
    """The strings of the first character vector (type 16): a count, and for each string flags, length and bytes."""
    place = serialised.index(b"\x00\x00\x00\x10") + 4
    (count,) = struct.unpack_from(">I", serialised, place)
    place, found = place + 4, []
    for _ in range(count):
        _, length = struct.unpack_from(">II", serialised, place)
        found.append(serialised[place + 8 : place + 8 + length].decode())
        place += 8 + length
    return found


def main(database: str, folder: str) -> None:
    texts = dict(zip(NOVELS, ("\n".join(lines(x)) for x in objects(Path(database).read_bytes())), strict=True))
    for part, novels in PARTS.items():
        text = "\n\n\n".join(texts[novel] for novel in novels)
        file = Path(folder) / f"{part}.txt.xz"
        file.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main(*sys.argv[1:])
