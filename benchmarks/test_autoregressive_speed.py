"""Gated PixelCNN against the same network as it is usually written: full square kernels, masked, in float32, and a
forward pass for each pixel that is drawn.
"""

import statistics

import pytest
import torch
import torch.nn.functional as F
from conftest import seconds
from torch import nn

from pixellib.models import GatedPixelCNN


class MaskedConv2d(nn.Conv2d):
    def __init__(self, num_in, num_out, kernel, mask):
        super().__init__(num_in, num_out, kernel, padding=tuple(k // 2 for k in kernel))
        self.register_buffer("mask", mask)

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


def vertical(num_in, num_out, kernel, hide_centre):
    mask = torch.ones(kernel, kernel)
    mask[kernel // 2 + (not hide_centre) :] = 0
    return MaskedConv2d(num_in, num_out, (kernel, kernel), mask)


def horizontal(num_in, num_out, kernel, hide_centre):
    mask = torch.ones(1, kernel)
    mask[:, kernel // 2 + (not hide_centre) :] = 0
    return MaskedConv2d(num_in, num_out, (1, kernel), mask)


class PlainGatedPixelCNN(nn.Module):
    def __init__(self, num_layers, width, kernel=5):
        super().__init__()
        self.first = nn.ModuleList([vertical(1, width, kernel, True), horizontal(1, width, kernel, True)])
        self.v = nn.ModuleList(vertical(width, 2 * width, kernel, False) for _ in range(num_layers))
        self.h = nn.ModuleList(horizontal(width, 2 * width, kernel, False) for _ in range(num_layers))
        self.link = nn.ModuleList(nn.Conv2d(2 * width, 2 * width, 1) for _ in range(num_layers))
        self.mix = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(num_layers))
        self.end = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, 256, 1))

    def forward(self, x):
        x = x.float() / 127.5 - 1
        v, h = (first(x) for first in self.first)
        h = h + v
        for conv_v, conv_h, link, mix in zip(self.v, self.h, self.link, self.mix, strict=True):
            v = conv_v(v)
            a, b = (conv_h(h) + link(v)).chunk(2, 1)
            h = h + mix(torch.tanh(a) * torch.sigmoid(b))
            a, b = v.chunk(2, 1)
            v = torch.tanh(a) * torch.sigmoid(b)
        return self.end(h)

    def loss(self, x):
        return F.cross_entropy(self(x), x[:, 0].long(), reduction="sum") / len(x)


def flops_of_an_image(model):
    """Of one forward pass of the network as we write it: the taps that the masks of the plain one hide do not count."""
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    weights = [(layer.weight * getattr(layer, "mask", 1) != 0).sum().item() for layer in convolutions]
    return 2 * 28 * 28 * sum(weights)


def digits(num):
    return torch.randint(256, (num, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize(("num_layers", "width"), [(5, 30), (9, 63)])
def test_training(compare, num_layers, width):
    x = digits(64)
    plain = PlainGatedPixelCNN(num_layers, width)
    row = compare(
        f"gated PixelCNN, {num_layers} x {width}, batch 64: loss, gradient",
        ("gradient_of_gated", num_layers, width, 64), lambda: plain.loss(x).backward(), ask=">= 2.5x", rounds=5,
        flops=3 * 64 * flops_of_an_image(plain), warm_up=1,
    )  # fmt: skip
    row["note"] = f"{64 / row['seconds']:.0f} images/s against {64 / row['reference_seconds']:.0f}"


def test_sampling(compare):
    model = GatedPixelCNN(num_layers=9, num_filters=63, kernel_size=5).eval()
    plain = PlainGatedPixelCNN(9, 63).eval()
    x = digits(144)

    @torch.inference_mode()
    def forward():
        F.softmax(plain(x)[:, :, 0, 0], 1).multinomial(1)

    row = compare(
        "gated PixelCNN, 9 x 63: sampling 144 images, 28 x 28", ("sample_gated", 9, 63, 144), forward,
        reference_times=784, ask="<= 4 s", rounds=3, warm_up=1,
    )  # fmt: skip
    sizes, cost = (8, 16, 32, 64), {"cached_seconds": [], "naive_seconds": []}
    for n in sizes:
        some = digits(16).repeat(1, 1, 3, 3)[..., :n, :n]
        forward_at = torch.inference_mode()(lambda some=some: model.params(some))
        forward_at()
        cost["cached_seconds"].append(seconds(lambda n=n: model.sample(16, size=(n, n))))
        cost["naive_seconds"].append(n**2 * statistics.median(seconds(forward_at) for _ in range(3)))
    row["cost"] = {"sizes": sizes, **cost}
    per_pixel = [f"{1e3 * t / n**2:.2f}" for t, n in zip(cost["cached_seconds"], sizes, strict=True)]
    row["note"] = f"milliseconds per pixel of 16 images at {sizes}: " + ", ".join(per_pixel)


@pytest.mark.parametrize(("batch_size", "compile"), [(16, False), (64, False), (16, True)])
@pytest.mark.parametrize("run", ["gated-mnist", "pixelcnnpp-mnist-softmax-32", "pixelcnnpp-cifar10"])
def test_training_of_runs(compare, run, batch_size, compile):
    name = f"{run}, batch {batch_size}: four steps of training" + ", compiled" * compile
    work = ("train", run, batch_size, 4)
    row = compare(name, (*work, compile), earlier_as=work, ask=">= 1.6x earlier")
    row["note"] = f"{4 * batch_size / row['seconds']:.0f} images/s"


@pytest.mark.parametrize("num", [1, 16])
@pytest.mark.parametrize("run", ["gated-mnist", "pixelcnnpp-mnist-softmax-32", "pixelcnnpp-cifar10"])
def test_sampling_of_runs(compare, run, num):
    compare(f"{run}: sampling {num} image{'s' * (num > 1)}", ("sample_run", run, num), rounds=3, warm_up=1)
