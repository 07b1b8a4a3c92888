"""What is timed of ours, in words that this version and an earlier one both understand.

Each function makes a callable that does the work once. Started as a program, this file does the work of the version
that lies on PYTHONPATH: it reads lines such as {"name": "train", "arguments": ["gated-mnist", 16]} and answers each
with the seconds it took.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from pixellib import data, devices
from pixellib.likelihoods import LogisticMixture
from pixellib.models import GatedPixelCNN, PixelCNNpp
from pixellib.series import runs
from pixellib.training import Settings, TrainState, fit

CPU = torch.device("cpu")
IMAGES = {"mnist": "mnist", "cifar10": "offline_crops"}  # of the same size


def make(name: str, *arguments) -> Callable[[], object]:
    return globals()[name](*arguments)


def train(run_name: str, batch_size: int, steps: int = 4, compile: bool = False) -> Callable[[], None]:
    """Whole steps of training a run, optimisers and averages included, with the precision that the machine offers."""
    options = {"compile": True} if compile else {}  # earlier versions have no such option
    run = runs.get(run_name)
    settings = replace(run.plan().settings, batch_size=batch_size, precision="auto")
    images, model = data.load(IMAGES[run.dataset], "train")[0][:batch_size].clone(), run.build()
    model.initialise(images)
    state, rows = TrainState(model.train(), settings, 0, CPU, **options), torch.arange(batch_size)

    def work():
        for _ in range(steps):
            state.step(rows, lambda rows: (images, None))
        state.losses.clear()

    return work


def train_iwae(num_images: int, batch_size: int) -> Callable[[], object]:
    """As `fit` runs it: bfloat16 where there is some, weights averaged, images binarised anew."""
    images, model = data.load("mnist", "train")[0][:num_images], runs.get("iwae-k5").build()
    settings = Settings(steps=num_images // batch_size, batch_size=batch_size)
    return lambda: fit(model, images, settings, transform=data.binarise, device="cpu", progress=False)


def gradient_of_mixture(batch_size: int, num_components: int, size: int, compile: bool = False) -> Callable[[], object]:
    """Loss and gradient of a mixture of logistics for parameters spread as a trained network's."""
    generator, k = torch.Generator().manual_seed(0), num_components
    params = torch.randn(batch_size, 10 * k, size, size, generator=generator)
    params[:, k:].unflatten(1, (3, 3, k))[:, :, 1] -= 3
    likelihood = LogisticMixture(k)
    x = likelihood(params).sample(generator=generator)
    params.requires_grad_()

    def loss(params):
        return -likelihood(params).log_prob(x).mean()

    loss = torch.compile(loss) if compile else loss
    return lambda: torch.autograd.grad(loss(params), params)


def gradient_of_gated(num_layers: int, num_filters: int, batch_size: int) -> Callable[[], None]:
    return _gradient(GatedPixelCNN(num_layers=num_layers, num_filters=num_filters, kernel_size=5), batch_size)


def gradient_of_pixelcnnpp(batch_size: int) -> Callable[[], None]:
    return _gradient(PixelCNNpp(), batch_size)


def sample_gated(num_layers: int, num_filters: int, num_images: int) -> Callable[[], object]:
    model = GatedPixelCNN(num_layers=num_layers, num_filters=num_filters, kernel_size=5).eval()
    return lambda: model.sample(num_images)


def sample_pixelcnnpp(num_images: int) -> Callable[[], object]:
    model = PixelCNNpp().eval()
    return lambda: model.sample(num_images)


def sample_run(run_name: str, num_images: int) -> Callable[[], object]:
    model = runs.get(run_name).build().eval()
    return lambda: model.sample(num_images)


def noise(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def _gradient(model, batch_size: int) -> Callable[[], None]:
    x = noise((batch_size, model.channels, *model.size))

    def work():
        with devices.autocast(CPU):
            loss = model.loss(x)
        loss.backward()
        model.zero_grad()

    return work


def main() -> None:
    made = {}
    for line in sys.stdin:
        if line not in made:
            made.clear()
            asked = json.loads(line)
            made[line] = make(asked["name"], *asked["arguments"])
        started = time.perf_counter()
        made[line]()
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
