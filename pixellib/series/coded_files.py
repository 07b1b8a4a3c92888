"""Files of images that are coded with a trained run: `pixellib compress` and `pixellib decompress`."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tqdm.auto import tqdm

from pixellib import coding, files
from pixellib.coding import container
from pixellib.models import ImageModel
from pixellib.series import pictures, runs


def compress(name: str, source: Path, out: Path, profile: str, device: str, batch_size: int) -> None:
    """Write the images of a picture, a folder or an array into a file, and print how long it is.

    Its header names run and profile besides what the decoder needs.
    """
    if (kind := files.kind_of_file(files.check_path(out))) not in ("file", "missing"):
        raise ValueError(f"{out} is a {kind}, not a file")
    model = runs.get(name).load_finished(profile, device=device)
    x = pictures.read(source, model.channels)
    if x.shape[2:] != model.size:
        sizes = [" x ".join(map(str, size)) for size in (x.shape[2:], model.size)]
        warning = f"{name}: the images are {sizes[0]}, the run was trained on {sizes[1]}: the file may be long for them"
        print(warning, file=sys.stderr)
    with _progress(model, "compress", x.shape, batch_size) as of_coder:
        data = coding.compress(model, x, batch_size=batch_size, progress=of_coder)
    header, blocks = container.unpack(data)
    data = container.pack({"run": name, "profile": profile, **header}, blocks)
    files.write_atomically(out, lambda temporary: temporary.write_bytes(data))
    words = coding.num_code_bytes(data)
    length = f"{len(data):,} bytes instead of {x.numel():,}, {len(data) - words:,} of them header and checksums"
    print(f"{name}: {_counted(len(x))} -> {out}, {length}; the rest is {8 * words / x.numel():.3f} bits per dimension")


def decompress(name: str, file: Path, out: Path, profile: str, device: str) -> None:
    """Write the images of such a file as an .npz file, a .png file or a folder. CodingError for another run's file,
    which names that run if the file does.
    """
    pictures.check_target(out)
    data = file.read_bytes()
    header = coding.header_of(data)  # before a model is loaded for it
    shape, batch_size = _counts_in(header)
    pictures.check_target(out, shape[0])
    model = runs.get(name).load_finished(profile, device=device)
    try:
        with _progress(model, "decompress", shape, batch_size) as of_coder:
            x = coding.decompress(model, data, progress=of_coder)
    except ValueError as error:
        made_with = header.get("run", name), header.get("profile", profile)  # older files do not say
        if made_with == (name, profile):
            raise
        raise coding.CodingError(f"{error}; it was made with run {made_with[0]}, profile {made_with[1]}") from error
    pictures.write(out, x)
    print(f"{name}: {_counted(len(x))} -> {out}")


def _counts_in(header: Mapping) -> tuple[list[int], int]:
    """Shape of the images, (N, C, H, W), and size of a batch. CodingError for a header that has not both."""
    shape, batch_size = header.get("images"), header.get("batch_size")
    counts = [*(shape if isinstance(shape, list) else []), batch_size]
    if len(counts) != 5 or any(type(count) is not int or count < 1 for count in counts):
        raise coding.CodingError("the file's header is not one that compress writes")
    return shape, batch_size


def _counted(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"


@contextmanager
def _progress(model: ImageModel, task: str, shape: list[int], batch_size: int) -> Iterator[bool]:
    """Draw a bar that counts pixels while an autoregressive model codes images of a shape (N, C, H, W): the coder's
    own counts batches, and a single picture is one. Yields whether the coder should draw its own, as for other models.
    """
    if not hasattr(model, "fill"):
        yield True
        return
    fill, (number, _, height, width) = model.fill, shape
    with tqdm(total=-(-number // batch_size) * height * width, desc=task, unit="pixel", delay=0.5) as bar:

        def counted_fill(x, choose, **options):
            def counted(pixels, row, column, channels):
                bar.update(channels.start in (None, 0))  # not for the second and third channel of a pixel
                return choose(pixels, row, column, channels)

            fill(x, counted, **options)

        model.fill = counted_fill
        try:
            yield False
        finally:
            del model.fill
