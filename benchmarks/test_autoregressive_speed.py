"""Gated PixelCNN against the same network as it is usually written: full square kernels, masked, in float32, and a
forward pass for each pixel that is drawn.
"""

import statistics

import pytest
import torch
import torch.nn.functional as F
from conftest import seconds
from torch import nn

from pixellib import devices
from pixellib.models import GatedPixelCNN

DEVICE = torch.device("cpu")


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


def digits(num):
    return torch.randint(256, (num, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize(("num_layers", "width"), [(5, 30), (9, 63)])
def test_training(compare, num_layers, width):
    x = digits(64)
    ours = GatedPixelCNN(num_layers=num_layers, num_filters=width, kernel_size=5)
    plain = PlainGatedPixelCNN(num_layers, width)

    def step():
        with devices.autocast(DEVICE):
            ours.loss(x).backward()

    row = compare(
        f"gated PixelCNN, {num_layers} x {width}, batch 64: loss, gradient", step, lambda: plain.loss(x).backward(),
        ask=">= 2.5x", rounds=5, warm_up=1,
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
        "gated PixelCNN, 9 x 63: sampling 144 images, 28 x 28", lambda: model.sample(144), forward,
        reference_times=784, ask="<= 15 s", rounds=3, warm_up=1,
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
