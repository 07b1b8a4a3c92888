"""PixelCNN++ at full size against the same network as it is usually written: weights normalised in every pass, images
padded and shifted in memory, float32, and a forward pass for each pixel that is drawn.
"""

import multiprocessing
import resource
import statistics

import pytest
import torch
import torch.nn.functional as F
from conftest import seconds
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.flop_counter import FlopCounterMode

from pixellib import devices
from pixellib.likelihoods import LogisticMixture, published_log_prob_per_pixel
from pixellib.models import PixelCNNpp

DEVICE = torch.device("cpu")
NUM_FILTERS, NUM_RESNETS = 160, 5


def celu(x):
    return F.elu(torch.cat([x, -x], 1))


class Shifted(nn.Module):
    """A convolution that sees rows above and `right` columns to the right, over a padded copy of its input."""

    def __init__(self, num_in, num_out, rows, columns, right, stride=1):
        super().__init__()
        self.pad = nn.ZeroPad2d((columns - 1 - right, right, rows - 1, 0))
        self.conv = weight_norm(nn.Conv2d(num_in, num_out, (rows, columns), stride))

    def forward(self, x):
        return self.conv(self.pad(x))


class Up(nn.Module):
    def __init__(self, num, columns):
        super().__init__()
        self.conv, self.first = weight_norm(nn.ConvTranspose2d(num, num, (2, columns), 2), dim=1), (columns - 1) // 2

    def forward(self, x):
        return self.conv(x)[..., self.first : self.first + 2 * x.shape[-1]]


class Block(nn.Module):
    def __init__(self, num, columns, right, num_auxiliary):
        super().__init__()
        self.first = Shifted(2 * num, num, 2, columns, right)
        self.auxiliary = weight_norm(nn.Conv2d(2 * num_auxiliary * num, num, 1)) if num_auxiliary else None
        self.last, self.dropout = Shifted(2 * num, 2 * num, 2, columns, right), nn.Dropout(0.5)

    def forward(self, x, auxiliary=None):
        h = self.first(celu(x))
        if auxiliary is not None:
            h = h + self.auxiliary(celu(auxiliary))
        a, b = self.last(self.dropout(celu(h))).chunk(2, 1)
        return x + a * torch.sigmoid(b)


def shift(x, down=0, right=0):
    return F.pad(x, (right, -right, down, -down))


class PlainPixelCNNpp(nn.Module):
    def __init__(self, num, depth, likelihood):
        super().__init__()
        self.likelihood = likelihood
        self.first_u = Shifted(4, num, 2, 3, 1)
        self.first_above, self.first_left = Shifted(4, num, 1, 3, 1), Shifted(4, num, 2, 1, 0)
        u, ul = {"columns": 3, "right": 1}, {"columns": 2, "right": 0}
        ways_in, ways_out = [depth] * 3, [depth, depth + 1, depth + 1]
        self.u_in, self.ul_in = (
            nn.ModuleList(Block(num, **of, num_auxiliary=n) for _ in range(sum(ways_in))) for of, n in ((u, 0), (ul, 1))
        )
        self.u_out, self.ul_out = (
            nn.ModuleList(Block(num, **of, num_auxiliary=n) for _ in range(sum(ways_out)))
            for of, n in ((u, 1), (ul, 2))
        )
        self.u_down, self.ul_down = (
            nn.ModuleList(Shifted(num, num, 2, **of, stride=2) for _ in range(2)) for of in (u, ul)
        )
        self.u_up, self.ul_up = (nn.ModuleList(Up(num, columns) for _ in range(2)) for columns in (3, 2))
        self.last = weight_norm(nn.Conv2d(num, likelihood.num_params(3), 1))
        self.depth = depth

    def forward(self, x):
        y = x.float() / 127.5 - 1
        y = torch.cat([y, torch.ones_like(y[:, :1])], 1)
        us = [shift(self.first_u(y), down=1)]
        uls = [shift(self.first_above(y), down=1) + shift(self.first_left(y), right=1)]
        for i in range(3 * self.depth):
            if i and i % self.depth == 0:
                us.append(self.u_down[i // self.depth - 1](us[-1]))
                uls.append(self.ul_down[i // self.depth - 1](uls[-1]))
            us.append(self.u_in[i](us[-1]))
            uls.append(self.ul_in[i](uls[-1], us[-1]))
        u, ul, block = us.pop(), uls.pop(), 0
        for scale, count in enumerate((self.depth, self.depth + 1, self.depth + 1)):
            if scale:
                u, ul = self.u_up[scale - 1](u), self.ul_up[scale - 1](ul)
            for _ in range(count):
                u = self.u_out[block](u, us.pop())
                ul = self.ul_out[block](ul, torch.cat([u, uls.pop()], 1))
                block += 1
        return self.last(F.elu(ul))

    def loss(self, x):
        return -published_log_prob_per_pixel(self(x), x).sum() / len(x)


def photographs(num):
    return torch.randint(256, (num, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(scope="module")
def models():
    ours = PixelCNNpp(3, NUM_FILTERS, NUM_RESNETS)
    plain = PlainPixelCNNpp(NUM_FILTERS, NUM_RESNETS, LogisticMixture(10))
    counts = [sum(p.numel() for p in model.parameters()) for model in (ours, plain)]
    assert counts[0] == counts[1], f"not the same network: {counts}"
    return ours, plain


def flops_of_an_image(model):
    """Of one forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(photographs(1))
    return counter.get_total_flops()


def step(model, x):
    with devices.autocast(DEVICE):
        model.loss(x).backward()


def memory_of_a_step():
    """GB: the peak of the process that calls it, which should do nothing else."""
    step(PixelCNNpp(3, NUM_FILTERS, NUM_RESNETS), photographs(16))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def test_training(compare, models):
    plain, x = models[1], photographs(16)
    with multiprocessing.get_context("spawn").Pool(1) as process:
        peak = process.apply(memory_of_a_step)
    row = compare(
        "PixelCNN++, full size, batch 16: loss, gradient", ("gradient_of_pixelcnnpp", 16),
        lambda: plain.loss(x).backward(), flops=3 * 16 * flops_of_an_image(plain), ask=">= 2.5x, 6 GB",
        rounds=3, warm_up=1,
    )  # fmt: skip
    row["note"] = f"{16 / row['seconds']:.2f} images/s against {16 / row['reference_seconds']:.2f}; peak {peak:.1f} GB"


def test_sampling(compare, models):
    ours, plain = models[0].eval(), models[1].eval()
    x = photographs(16)

    @torch.inference_mode()
    def forward():
        plain(x)

    forward()  # once without the clock; the drawing itself is too long to be done twice
    row = compare(
        "PixelCNN++, full size: sampling 256 images, 32 x 32", ("sample_pixelcnnpp", 256), forward,
        reference_times=16 * 1024, flops=256 * flops_of_an_image(plain), ask="<= 35 s", rounds=1, warm_up=0,
    )  # fmt: skip
    with torch.inference_mode(), devices.autocast(DEVICE):
        one_pass = 16 * statistics.median(seconds(lambda: ours.params(x)) for _ in range(3))
    row["cost"] = {"naive": row["reference_seconds"], "cached": row["seconds"], "one pass": one_pass}
    row["note"] = f"one forward pass of the 256 images: {one_pass:.0f} s"
