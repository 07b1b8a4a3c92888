"""Files of images: as long as the model says, decoded to the last bit, and never decoded into something else."""

import json
import math
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch

from pixellib import coding
from pixellib.coding.container import START
from pixellib.likelihoods import Bernoulli, Categorical, LogisticMixture
from pixellib.models import VAE, GatedPixelCNN, LadderVAE, PixelCNNpp

SMALL = {"num_layers": 2, "num_filters": 9, "kernel_size": 3}
MODELS = {
    "softmax": lambda: GatedPixelCNN(1, (8, 8), **SMALL),
    "softmax, colours in order": lambda: GatedPixelCNN(3, (4, 4), likelihood=Categorical(), **SMALL),
    "mixture, colours together": lambda: PixelCNNpp(3, 6, 1, LogisticMixture(2), size=(4, 4)),
    "bernoulli": lambda: GatedPixelCNN(1, (8, 8), likelihood=Bernoulli(), **SMALL),
    "bits back": lambda: VAE(3, (8, 8), num_latents=[4], num_filters=4, likelihood=LogisticMixture(2)),
    "bits back, bernoulli": lambda: VAE(1, (8, 8), num_latents=[4], num_filters=4, likelihood=Bernoulli()),
}


def build(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model.eval()


def images_for(model, number):
    shape = (number, model.channels, *model.size)
    images = torch.randint(256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return (images > 127).to(torch.uint8) * 255 if isinstance(model.likelihood, Bernoulli) else images


@pytest.mark.parametrize("name", MODELS)
def test_what_is_decoded_is_what_was_encoded(name):
    model = build(name)
    images = images_for(model, 7)
    data = coding.compress(model, images, batch_size=3)  # the last batch is smaller
    decoded = coding.decompress(model, data)
    assert decoded.dtype == torch.uint8 and torch.equal(decoded, images)
    assert coding.header_of(data)["images"] == list(images.shape)


IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from test_coding import build
from pixellib import coding
np.save(sys.argv[4], coding.decompress(build(sys.argv[2]), Path(sys.argv[3]).read_bytes()).numpy())
"""


@pytest.mark.parametrize("name", ["softmax", "mixture, colours together", "bits back"])
def test_another_process_decodes_the_same_images(tmp_path, name):
    model = build(name)
    images = images_for(model, 5)
    (tmp_path / "images.bin").write_bytes(coding.compress(model, images))
    here, there = str(tmp_path / "images.bin"), str(tmp_path / "decoded.npy")
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(__file__).rpartition("/")[0], name, here, there]
    subprocess.run(command, check=True, timeout=300)
    np.testing.assert_array_equal(np.load(there), images.numpy())


@pytest.mark.parametrize(("batch_size", "num_blocks"), [(1, 5), (100, 1)])
@pytest.mark.parametrize("name", ["softmax", "softmax, colours in order", "mixture, colours together", "bernoulli"])
def test_a_file_is_as_long_as_the_model_says(name, batch_size, num_blocks):
    model = build(name)
    images = images_for(model, batch_size * num_blocks)
    data = coding.compress(model, images, batch_size=batch_size, precision="fp32")
    with torch.no_grad():
        bits = -model.log_prob(images).double().sum().item() / math.log(2)
    header = len(json.dumps(coding.header_of(data))) + START.size
    assert bits < 8 * (len(data) - header) < 1.001 * bits + 160 * num_blocks


def test_bits_back_costs_the_evidence_lower_bound_and_the_bits_it_begins_with():
    model = build("bits back")
    images = images_for(model, 200)
    with torch.no_grad():
        bits = -model.log_weights(images, 1).double().sum().item() / math.log(2)
    beginning = 200 * 4 * 16  # at most 16 bits for each of four latents
    long, short, one = (
        8 * len(coding.compress(model, images, batch_size=number, precision="fp32")) for number in (200, 10, 1)
    )
    assert 0.995 * bits < short < 1.005 * bits + beginning / 20 + 3_000
    assert 0.995 * bits < one < 1.005 * bits + beginning / 200 + 3_000, "also with one image at a time"
    assert short < long < short + beginning, "only the first batch's latents are paid for with random bits"


def test_each_flipped_bit_is_detected():
    model = build("softmax")
    data = coding.compress(model, images_for(model, 4), batch_size=2)
    generator = np.random.default_rng(0)
    for position in [0, 8, 10, 14, *generator.integers(8 * len(data), size=20)]:
        altered = bytearray(data)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(coding.CodingError):
            coding.decompress(model, bytes(altered))


def test_each_truncation_is_detected():
    model = build("softmax")
    data = coding.compress(model, images_for(model, 4), batch_size=1)
    for length in [0, 1, START.size, START.size + 1, *range(100, len(data), 97), len(data) - 1]:
        with pytest.raises(coding.CodingError):
            coding.decompress(model, data[:length])
    with pytest.raises(coding.CodingError, match="block 5"):
        coding.decompress(model, data + b"more")


@pytest.mark.parametrize("name", ["softmax", "bits back"])
def test_a_decoder_that_computes_otherwise_says_so_and_returns_nothing(name):
    model = build(name)
    for number in range(40, 60):  # the entropy coder may notice first, or only the checksum of the images
        data = coding.compress(model, images_for(model, number), precision="fp32")
        with pytest.raises(coding.CodingError, match=r"decoded into other images.* in fp32|do not fit the model's"):
            coding.decompress(model, data, precision="bf16")


def test_another_model_is_refused():
    model = build("softmax")
    data = coding.compress(model, images_for(model, 1))
    with torch.no_grad():
        next(model.parameters()).add_(1e-6)
    with pytest.raises(coding.CodingError, match="another model"):
        coding.decompress(model, data)


def with_header(data, **changes):
    """The same file with another header, and the checksum that fits it."""
    magic, version, length, _ = START.unpack_from(data)
    header = {**json.loads(data[START.size : START.size + length]), **changes.pop("header", {})}
    content = json.dumps(header).encode()
    start = START.pack(magic, changes.pop("version", version), len(content), zlib.crc32(content))
    return start + content + data[START.size + length :]


def test_files_that_claim_what_they_do_not_hold_are_refused():
    model = build("softmax")
    data = coding.compress(model, images_for(model, 3), batch_size=2)
    assert torch.equal(coding.decompress(model, with_header(data)), images_for(model, 3))
    for header in ({"images": [2**40, 1, 8, 8]}, {"images": [9, 1, 8, 8]}):
        with pytest.raises(coding.CodingError, match="it has 2 blocks"):
            coding.decompress(model, with_header(data, header=header))
    with pytest.raises(ValueError, match="more than 16 GiB"):
        coding.decompress(model, with_header(data, header={"images": [2**40, 1, 8, 8], "batch_size": 2**39}))
    with pytest.raises(coding.CodingError, match="version 2"):
        coding.decompress(model, with_header(data, version=2))
    with pytest.raises(ValueError, match="expected images"):
        coding.decompress(model, with_header(data, header={"images": [3, 3, 8, 8]}))
    for header in ({"batch_size": 0}, {"threads": None}, {"threads": -1}, {"threads": 10**6}, {"images": [0, 1, 8, 8]}):
        with pytest.raises(coding.CodingError, match="header is not one that compress writes"):
            coding.decompress(model, with_header(data, header=header))


def test_images_with_other_strides_and_a_model_in_training_mode_give_the_same_file():
    for name in ("softmax", "bits back"):
        model = build(name)
        images = images_for(model, 4)
        data = coding.compress(model, images)
        assert coding.compress(model.train(), images.to(memory_format=torch.channels_last)) == data and model.training


def test_the_threads_of_the_caller_are_kept():
    model, before = build("softmax"), torch.get_num_threads()
    data = coding.compress(model, images_for(model, 1))
    coding.decompress(model, data, threads=before + 1)
    assert torch.get_num_threads() == before


def test_a_condition_is_needed_on_both_sides():
    torch.manual_seed(0)
    model = GatedPixelCNN(1, (8, 8), num_classes=3, **SMALL)
    with torch.no_grad():
        for weight in model.parameters():  # those of the classes begin at zero
            weight.add_(0.1 * torch.randn_like(weight))
    images, classes = images_for(model, 5), torch.tensor([0, 1, 2, 0, 1])
    data = coding.compress(model, images, condition=classes, batch_size=2)
    assert torch.equal(coding.decompress(model, data, condition=classes), images)
    with pytest.raises(coding.CodingError, match=r"another condition|do not fit the model's"):
        coding.decompress(model, data, condition=(classes + 1) % 3)
    for wrong in (None, classes[:3]):
        with pytest.raises(ValueError, match=r"needs a condition|a condition for each of 5 images"):
            coding.compress(model, images, condition=wrong)
        with pytest.raises(ValueError, match=r"needs a condition|a condition for each of 5 images"):
            coding.decompress(model, data, condition=wrong)


def test_images_and_models_that_cannot_be_coded_are_refused():
    model, binary = build("softmax"), build("bernoulli")
    images = images_for(model, 2)
    for broken, complaint in (
        (images[:0], r"one or more of uint8, .*; these have 256 levels, 0 of torch\.uint8"),
        (images.float(), "integers"),
        (images.long(), r"2 of torch\.int64"),
        (images.expand(-1, 3, -1, -1), "expected images"),
    ):
        with pytest.raises(ValueError, match=complaint):
            coding.compress(model, broken)
    with pytest.raises(ValueError, match="no probability of some of the images' levels"):
        coding.compress(binary, images)
    with pytest.raises(ValueError, match="expected images"):
        coding.compress(build("bits back"), torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="these have 512 levels"):
        coding.compress(GatedPixelCNN(1, (4, 4), num_layers=1, num_filters=4, likelihood=Categorical(512)), images)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        coding.compress(model, images, batch_size=0)
    with pytest.raises(ValueError, match="not with LadderVAE"):
        coding.compress(LadderVAE(1, (8, 8), num_layers=[1], num_filters=4), images)
