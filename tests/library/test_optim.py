"""Muon: what a step is, which weights it moves, and that it learns faster than Adam where the series uses it."""

import pytest
import torch
from torch import nn
from toys import Toy

from pixellib.likelihoods import Categorical, LogisticMixture
from pixellib.models import GatedPixelCNN, PixelCNNpp
from pixellib.optim import Muon, orthogonal
from pixellib.training import Settings, fit

BLANK = torch.zeros(8, 1, 2, 2, dtype=torch.uint8)


class Plane(Toy):
    """loss = <slope, kernel> + bias: every gradient is known."""

    kind = "exact"

    def __init__(self, slope):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros_like(slope))
        self.bias = nn.Parameter(torch.zeros(()))
        self.slope = slope

    def loss(self, x, condition=None):
        return (self.slope * self.kernel).sum() + self.bias


@pytest.mark.parametrize("shape", [(6, 6), (5, 40), (40, 5)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_matrix_keeps_its_directions_and_loses_its_lengths(shape, scale):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.mT @ orthogonal(scale * matrix) @ v.mT
    assert inside.diag().min() > 0.6 and inside.diag().max() < 1.3
    assert (inside - inside.diag().diag()).abs().max() < 1e-6


def test_no_gradient_no_step_and_no_nan():
    assert torch.equal(orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4))
    kernel = nn.Parameter(torch.ones(2, 2, 1, 1))
    Muon([kernel], lr=1.0).step()
    assert torch.equal(kernel.detach(), torch.ones(2, 2, 1, 1))


def test_kernels_of_one_shape_move_together_as_each_would_alone():
    """One of three never has a gradient and stays; another has none in the first step."""
    generator = torch.Generator().manual_seed(0)
    together, alone = ([nn.Parameter(torch.ones(6, 2, 3, 1, dtype=torch.float64)) for _ in range(3)] for _ in range(2))
    optimisers = [Muon(together, lr=0.1), *(Muon([kernel], lr=0.1) for kernel in alone)]
    for step in range(3):
        for i in range(2):
            if (step, i) != (0, 1):
                together[i].grad = torch.randn(6, 2, 3, 1, generator=generator, dtype=torch.float64)
                alone[i].grad = together[i].grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    assert torch.equal(together[2].detach(), torch.ones(6, 2, 3, 1)) and not torch.equal(together[1], together[0])


@pytest.mark.parametrize("shape", [(4, 2, 3, 3), (18, 2, 1, 1)])
def test_a_kernel_moves_its_rate_along_each_direction_whatever_the_gradient_and_biases_move_with_adam(shape):
    slope = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    settings = Settings(
        steps=3,
        batch_size=4,
        learning_rate=0.01,
        muon_lr=0.1,
        schedule="exponential",
        decay=0.5,
        ema_decay=None,
        eps=0.0,
    )
    moved = {}
    for scale in (1.0, 1000.0):
        model = fit(Plane(scale * slope), BLANK, settings, progress=False, device="cpu").model
        moved[scale] = model.kernel.detach()
        assert model.bias.item() == pytest.approx(-0.01 * (1 + 1 / 2 + 1 / 4))
    torch.testing.assert_close(moved[1.0], moved[1000.0])
    rows, columns = slope.flatten(1).shape
    direction = -orthogonal(slope.flatten(1)) * max(1, rows / columns) ** 0.5
    torch.testing.assert_close(moved[1.0].flatten(1), 0.1 * (1 + 1 / 2 + 1 / 4) * direction, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        GatedPixelCNN(num_layers=2, num_filters=8, kernel_size=3, embedding=4, num_classes=3),
        PixelCNNpp(1, 6, 1, LogisticMixture(2), size=(8, 8)),
        PixelCNNpp(3, 6, 1, Categorical(4), size=(8, 8), weight_norm=False),
    ],
    ids=["gated", "weight-normalised", "plus-plus"],
)
def test_muon_moves_kernels_but_neither_gains_nor_the_last_layer(model):
    kernels = {id(p) for p in model.kernels()}
    names = [name for name, p in model.named_parameters() if id(p) in kernels]
    assert names and all(name.endswith(("weight", "weight.original1")) for name in names)
    last = {id(p) for p in model.output_layer.parameters()}
    embeddings = {id(p) for layer in model.modules() if isinstance(layer, nn.Embedding) for p in layer.parameters()}
    assert not kernels & (last | embeddings)


def test_a_gated_network_learns_digits_faster_with_it(digits):
    bits = {}
    for muon in (None, 0.02):
        torch.manual_seed(0)
        model = GatedPixelCNN(num_layers=3, num_filters=16, kernel_size=3, embedding=8)
        settings = Settings(
            steps=100, batch_size=8, learning_rate=4e-3, muon_lr=muon, warmup_steps=10, schedule="cosine"
        )
        training = fit(model, digits[:1000], settings, validation=digits[1000:1100], progress=False, device="cpu")
        bits[muon] = training.history[-1]["validation_bits"]
    assert bits[0.02] < bits[None] - 0.01


def test_a_training_with_it_resumes_to_the_same_bytes(digits, tmp_path):
    settings = Settings(steps=12, batch_size=8, muon_lr=0.02)

    class Interrupted(GatedPixelCNN):
        _left = 10**9  # not public, so no part of what the training is

        def loss(self, x, condition=None):
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
            return super().loss(x, condition)

    def train(folder, left=10**9):
        torch.manual_seed(0)
        model = Interrupted(num_layers=1, num_filters=8, kernel_size=3)
        model._left = left
        return fit(model, digits[:100], settings, folder=folder, save_every=0, progress=False, device="cpu").model

    alone = train(tmp_path / "alone")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", left=7)
    resumed = train(tmp_path / "stopped")
    for one, two in zip(alone.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_closure_computes_the_gradients_of_a_step():
    """As frameworks call an optimiser."""
    kernel = torch.nn.Parameter(torch.ones(2, 2, 1, 1))
    optimiser, before = Muon([kernel], lr=0.1), kernel.detach().clone()

    def closure():
        optimiser.zero_grad()
        loss = kernel.square().sum()
        loss.backward()
        return loss

    assert optimiser.step(closure) == 4 and not torch.equal(kernel, before)
