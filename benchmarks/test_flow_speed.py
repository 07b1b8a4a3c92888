"""Training of the flows against the same networks in float32 as they are usually written: an elu for either sign, a
normalisation of its own, Adam, no averaging.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from workloads import noise

from pixellib.models.flows.layers import channel_mask, checkerboard_mask
from pixellib.series import runs

BATCH = 64


class DoubledElu(nn.Module):
    def forward(self, x):
        return torch.cat([F.elu(x), F.elu(-x)], 1)


class PlainNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(1, width, 1, 1)), nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x):
        mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
        return self.gain * (x - mean) / (variance + 1e-5).sqrt() + self.bias


class PlainGate(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            DoubledElu(), nn.Conv2d(2 * width, width, 3, padding=1), DoubledElu(), nn.Conv2d(2 * width, 2 * width, 1)
        )

    def forward(self, x):
        value, gate = self.layers(x).chunk(2, 1)
        return x + value * gate.sigmoid()


class PlainCoupling(nn.Module):
    def __init__(self, num_in, channels, width, mask):
        super().__init__()
        gates = [layer for _ in range(3) for layer in (PlainGate(width), PlainNorm(width))]
        last = nn.Conv2d(2 * width, 2 * channels, 3, padding=1)
        self.network = nn.Sequential(nn.Conv2d(num_in, width, 3, padding=1), *gates, DoubledElu(), last)
        self.bound = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mask", mask)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, z, log_det, *condition):
        scale, shift = self.network(torch.cat([z * self.mask, *condition], 1)).chunk(2, 1)
        bound = self.bound.exp().view(1, -1, 1, 1)
        scale = (scale / bound).tanh() * bound * (1 - self.mask)
        return (z + shift * (1 - self.mask)) * scale.exp(), log_det + scale.sum((1, 2, 3))


class PlainFlow(nn.Module):
    """One scale of eight couplings or, of the tutorial's, two, two and four at three; with learned noise or without."""

    def __init__(self, multi_scale, learned):
        super().__init__()
        boards = [checkerboard_mask(28, 28, invert=i % 2 == 1) for i in range(8)]
        self.noise = nn.ModuleList(PlainCoupling(2, 1, 16, boards[i]) for i in range(4 * learned))
        scales = [(1, 32, 2), (4, 48, 2), (8, 64, 4)] if multi_scale else [(1, 32, 8)]
        self.scales = nn.ModuleList()
        for channels, width, num in scales:
            masks = boards if channels == 1 else [channel_mask(channels, i % 2 == 1) for i in range(num)]
            self.scales.append(nn.ModuleList(PlainCoupling(channels, channels, width, masks[i]) for i in range(num)))

    def loss(self, x):
        u, log_det = torch.rand(x.shape), -784 * math.log(256) * torch.ones(len(x))
        if len(self.noise):
            u = u.clamp(1e-5, 1 - 1e-5)
            e = u.log() - (-u).log1p()
            log_det = log_det - (u.log() + (-u).log1p()).sum((1, 2, 3))
            for coupling in self.noise:
                e, log_det = coupling(e, log_det, x / 255 * 2 - 1)
            u = e.sigmoid()
            log_det = log_det + (F.logsigmoid(e) + F.logsigmoid(-e)).sum((1, 2, 3))
        v = (x + u) / 256 * (1 - 1e-5) + 0.5e-5
        z = v.log() - (-v).log1p()
        log_det = log_det - (v.log() + (-v).log1p()).sum((1, 2, 3))
        log_p = 0
        for i, scale in enumerate(self.scales):
            if i == 2:
                gone, z = z.chunk(2, 1)
                log_p = -0.5 * (gone**2 + math.log(2 * math.pi)).sum((1, 2, 3))
            if i:
                z = F.pixel_unshuffle(z, 2)
            for coupling in scale:
                z, log_det = coupling(z, log_det)
        return -(log_p - 0.5 * (z**2 + math.log(2 * math.pi)).sum((1, 2, 3)) + log_det).mean()


@pytest.mark.parametrize("run", ["flow-simple", "flow-vardeq", "flow-multi-simple", "flow-multi-vardeq"])
def test_training(compare, run):
    plain, ours, x = PlainFlow("multi" in run, "vardeq" in run), runs.get(run).build(), noise((BATCH, 1, 28, 28))
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in ours.parameters())
    assert abs(plain.loss(x) / ours.loss(x) - 1) < 0.02, "the two score the same thing"
    optimiser = torch.optim.Adam(plain.parameters(), lr=1e-3)

    def reference():
        for _ in range(4):
            optimiser.zero_grad()
            plain.loss(x).backward()
            optimiser.step()

    row = compare(
        f"{run}, batch {BATCH}: four steps of training", ("train", run, BATCH), reference, ask=">= 2.5x", rounds=5
    )
    row["note"] = f"{4 * BATCH / row['seconds']:.0f} images/s against {4 * BATCH / row['reference_seconds']:.0f}"
