"""The IWAE 784-200-200-50 of the series against the textbook's: the same networks in float32, written with
torch.distributions, a plain Adam, no averaging.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal

from pixellib import data, devices
from pixellib.evaluation import evaluate
from pixellib.likelihoods import Bernoulli
from pixellib.series import runs

BATCH, NUM_SAMPLES = 256, 5


class Textbook(nn.Module):
    """The reference: one stochastic layer, x float (B, 784) of zeros and ones."""

    def __init__(self, model):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(784, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 100)
        )
        self.decoder = nn.Sequential(nn.Linear(50, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 784))
        self.encoder.load_state_dict(model.encoders[0].state_dict())
        self.decoder.load_state_dict(model.decoders[0].state_dict())
        self.centre = model.centre.flatten()

    def log_weights(self, x, num_samples):
        mean, log_std = self.encoder(2 * x - 1 - self.centre).chunk(2, -1)
        q = Normal(mean, log_std.exp())
        z = q.rsample((num_samples,))
        logits = self.decoder(z)
        log_p_x = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        return log_p_x + (Normal(0, 1).log_prob(z) - q.log_prob(z)).sum(-1)

    def bound(self, x, num_samples):
        return self.log_weights(x, num_samples).logsumexp(0) - math.log(num_samples)


@pytest.fixture(scope="module")
def model():
    return runs.get("iwae-k5").load_or_train(device="cpu")


@pytest.fixture(scope="module")
def test_images():
    return runs.get("iwae-k5").images("test")[:100]


def network_flops(model, num_samples: int) -> int:
    """Of one forward pass of one image: two for every weight of the encoder, and for every weight and sample after."""
    encoder, decoder = (
        sum(p.numel() for p in network.parameters() if p.dim() == 2) for network in (model.encoders, model.decoders)
    )
    return 2 * (encoder + num_samples * decoder)


def test_training(compare, model):
    images = data.load("mnist", "train")[0][: 20 * BATCH]
    plain = Textbook(model)
    optimiser = torch.optim.Adam(plain.parameters(), lr=1e-3)

    def reference():
        for batch in torch.randperm(len(images)).split(BATCH):
            x = torch.bernoulli(images[batch].flatten(1) / 255)
            optimiser.zero_grad()
            (-plain.bound(x, NUM_SAMPLES).mean()).backward()
            optimiser.step()

    compare(
        "IWAE, 5 samples, batch 256: training on 60,000 images",
        ("train_iwae", len(images), BATCH),
        reference,
        times=60_000 / len(images),
        flops=3 * len(images) * network_flops(model, NUM_SAMPLES),
        ask="<= 2.0 s",
    )


def test_likelihood(compare, model, test_images):
    """400 samples of 100 images, which cost what 5,000 samples of 8 images do; bfloat16 against float32 beside."""
    num_samples, plain, x = 400, Textbook(model), (test_images == 255).flatten(1).float()

    def ours(precision="auto"):
        return evaluate(model, test_images, num_samples=num_samples, device="cpu", precision=precision)

    @torch.no_grad()
    def reference():
        parts = [plain.log_weights(x, 20).logsumexp(0) for _ in range(num_samples // 20)]
        return (torch.stack(parts).logsumexp(0) - math.log(num_samples)).mean().item()

    assert abs(ours().log_likelihood - reference()) < 0.5, "the two estimate the same number"
    row = compare(
        "IWAE, likelihood by 5,000 samples of 10,000 images",
        ours,
        reference,
        times=10_000 * 5_000 / (len(x) * num_samples),
        flops=len(x) * network_flops(model, num_samples),
        ask="<= 150 s",
    )
    if not devices.has_bf16(torch.device("cpu")):
        return
    differences = ours("bf16").per_image - ours("fp32").per_image
    row["bf16_bias_nats"] = differences.mean().item()
    error = differences.std().item() / math.sqrt(len(x))
    row["note"] = f"bfloat16 moves it by {row['bf16_bias_nats']:+.4f} +- {error:.4f} nats; goal: below 0.02"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bernoulli(compare, dtype):
    """Forward and backward, at the size of a training step: 5 samples of 256 images."""
    x = data.binarise(data.load("mnist", "train")[0][:BATCH])
    logits = torch.randn(NUM_SAMPLES, *x.shape).to(dtype).requires_grad_()

    def gradient(log_p):
        return torch.autograd.grad(log_p.sum(), logits)[0]

    def ours():
        return gradient(Bernoulli()(logits).log_prob(x))

    def reference():
        ones = (x == 255).float().expand_as(logits)
        return gradient(-F.binary_cross_entropy_with_logits(logits.float(), ones, reduction="none").sum((-3, -2, -1)))

    torch.testing.assert_close(ours(), reference())
    compare(f"Bernoulli, {str(dtype)[6:]}, 5 x 256 images: log_prob, gradient", ours, reference, rounds=31)
