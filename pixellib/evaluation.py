"""Log-likelihoods of held-out images: every image counted once, with standard errors, on one process or many."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from tqdm.auto import tqdm

from pixellib import devices, seeds
from pixellib.likelihoods.base import INTEGERS
from pixellib.models.base import ImageModel, eval_mode
from pixellib.models.checks import check_counts


@dataclass(frozen=True, eq=False)
class Estimate:
    """The mean log-likelihood of images in nats per image, with its kind and its standard error.

    log_likelihood: mean over the images, nats. standard_error: of that mean over images, nats. kind: "exact", "lower
    bound", "density" or "improper". num_samples: M of a bound, else None. per_image: float64 (N,), nats. shape: (C, H,
    W) of an image, as the model saw it.
    """

    log_likelihood: float
    standard_error: float
    num_images: int
    kind: str
    num_samples: int | None
    shape: tuple[int, int, int]
    per_image: Tensor

    @property
    def bits_per_dim(self) -> float:
        """Of the negative log-likelihood, per sub-pixel."""
        return bits_per_dim(-self.log_likelihood, self.shape)

    def as_record(self, split: str) -> dict:
        """The entries of a record, in values that JSON can hold; the standard error of a single image is None."""
        return {
            "split": split,
            "kind": self.kind,
            "num_samples": self.num_samples,
            "num_images": self.num_images,
            "log_likelihood": round(self.log_likelihood, 4),
            "standard_error": None if math.isnan(self.standard_error) else round(self.standard_error, 4),
            "bits_per_dim": round(self.bits_per_dim, 5),
        }


def bits_per_dim(nats: float, shape: Sequence[int]) -> float:
    """Bits per sub-pixel, of a negative log-likelihood in nats per image of shape (C, H, W).

    >>> round(bits_per_dim(784 * math.log(256), (1, 28, 28)), 6)
    8.0
    """
    return nats / (math.log(2) * math.prod(shape))


def evaluate(
    model: ImageModel,
    images: Tensor,
    *,
    labels: Tensor | None = None,
    num_samples: int | None = None,
    transform: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    seed: int = 0,
    batch_size: int = 100,
    device: str | torch.device | None = None,
    precision: str = "fp32",
    progress: bool | str = False,
) -> Estimate:
    """Mean of `model.log_prob` over images, or with num_samples M the mean of the M-sample bound, whose log-weights
    `model.log_weights` draws.

    images: uint8 (N, C, H, W). labels: int64 (N,), the condition, if the model takes one. transform: applied to each
    batch (binarise, for instance). seed: 0 to 2^32 - 1. All noise is drawn from generators seeded by (seed, batch). So
    the result is the same for any number of processes, of which each takes every n-th batch; it depends on batch_size
    and on the type of the device, whose generator differs from others'. The model is evaluated in eval mode, and left
    in the mode it was in. device: where the model is; None looks at its parameters. precision: of the network, "fp32",
    "bf16", or "auto", which is bf16 where the device multiplies it in hardware; that is about twice as fast, and off by
    some hundredths of a percent. All records of the series are in fp32. progress: whether to draw a bar, or
    what it should say.

    ValueError for no images, images or labels that do not fit, labels together with num_samples (log-weights take no
    condition), num_samples for a model without log-weights, and a model whose `log_prob` does not give one number for
    each image.

    >>> from pixellib.models import IWAE
    >>> images = torch.zeros(30, 1, 28, 28, dtype=torch.uint8)
    >>> estimate = evaluate(IWAE(num_latents=(2,), num_hidden=(4,)), images, num_samples=8, device="cpu")
    >>> estimate.kind, estimate.num_samples, estimate.num_images
    ('lower bound', 8, 30)
    """
    _check_arguments(model, images, labels, num_samples, batch_size)
    seed = seeds.check_seed(seed)
    device = devices.of_model(model) if device is None else devices.resolve(str(device))
    world, rank = devices.world_and_rank()
    per_image, shape = torch.zeros(len(images), dtype=torch.float64), tuple(images.shape[1:])
    batches = range(0, len(images), batch_size)[rank::world]
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        torch.inference_mode(),
        eval_mode(model),
        devices.autocast(device, precision),
    ):
        title = progress if isinstance(progress, str) else "evaluate"
        for start in tqdm(batches, desc=title, disable=not progress or rank > 0):
            number = seeds.sequence_seed(seed, start)
            seeds.seed_global(number, device)  # models without a generator argument draw from the global one
            generator = torch.Generator(device).manual_seed(number)
            part = slice(start, start + batch_size)
            x = images[part].to(device)
            condition = None if labels is None else labels[part].to(device)
            if transform is not None:
                x = transform(x, generator)
                shape = tuple(x.shape[1:])
            if num_samples is None:
                log_p = model.log_prob(x, condition)
            else:
                log_p = m_sample_bound(model, x, num_samples, generator)
            if log_p.shape != (len(x),):
                raise ValueError(f"expected one log-probability for each of {len(x)} images, got {tuple(log_p.shape)}")
            per_image[part] = log_p.cpu()
    if world > 1:
        shared = per_image.to(device)
        dist.all_reduce(shared)  # each image is non-zero on one process only: the sum is exact
        per_image = shared.cpu()
    if num_samples is None and model.kind != "exact":
        num_samples = getattr(model, "num_samples", None)
    return Estimate(
        log_likelihood=per_image.mean().item(),
        standard_error=per_image.std().item() / math.sqrt(len(images)) if len(images) > 1 else math.nan,
        num_images=len(images),
        kind=model.kind,
        num_samples=num_samples,
        shape=shape,
        per_image=per_image,
    )


def m_sample_bound(
    model: ImageModel,
    x: Tensor,
    num_samples: int,
    generator: torch.Generator | None = None,
    max_rows: int = 8000,
) -> Tensor:
    """log 1/M sum_m w_m for each image of x, float (B,).

    Latents are drawn for at most max_rows images at once. With gradients enabled their graphs are all kept, so call it
    under `torch.no_grad` unless you differentiate it. ValueError for no images, num_samples below 1, or a model without
    log-weights.

    >>> from pixellib.models import IWAE
    >>> m_sample_bound(IWAE(), torch.zeros(3, 1, 28, 28, dtype=torch.uint8), num_samples=5).shape
    torch.Size([3])
    """
    _check_samples(model, num_samples)
    check_data(x)
    check_counts(max_rows=max_rows)
    if len(x) == 0:
        raise ValueError("there are no images to evaluate")
    chunk = max(1, max_rows // len(x))
    total = None
    for start in range(0, num_samples, chunk):
        log_w = model.log_weights(x, min(chunk, num_samples - start), generator).logsumexp(0)
        total = log_w if total is None else torch.logaddexp(total, log_w)
    return total - math.log(num_samples)


def check_data(images: Tensor, labels: Tensor | None = None, which: str = "") -> None:
    """ValueError unless images are integers (N, C, H, W), with one label each if there are labels. which: for errors.

    >>> check_data(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([3, 4]))
    """
    if not isinstance(images, Tensor):
        raise ValueError(f"{which}images must be one tensor, all of them, got {type(images).__name__}")
    if images.dtype not in INTEGERS or images.dim() != 4:
        raise ValueError(
            f"{which}images must be uint8, or other integers, of shape (N, C, H, W), got {images.dtype} of shape "
            f"{tuple(images.shape)}"
        )
    if labels is not None and (labels.dim() == 0 or len(labels) != len(images)):
        num_labels = len(labels) if labels.dim() else "a single number"
        raise ValueError(f"there must be one label per image: got {len(images)} {which}images, {num_labels} labels")


def _check_arguments(
    model: ImageModel, images: Tensor, labels: Tensor | None, num_samples: int | None, batch_size: int
) -> None:
    check_data(images, labels)
    if len(images) == 0:
        raise ValueError("there are no images to evaluate")
    check_counts(batch_size=batch_size)
    if num_samples is not None:
        _check_samples(model, num_samples)
        if labels is not None:
            raise ValueError("labels cannot be combined with num_samples: log-weights take no condition")


def _check_samples(model: ImageModel, num_samples: int) -> None:
    check_counts(num_samples=num_samples)
    if not hasattr(model, "log_weights"):
        raise ValueError(f"{type(model).__name__} has no log-weights: num_samples is for models with latent variables")
