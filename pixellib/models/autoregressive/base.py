"""What all autoregressive models share: p(x) as a product over pixels, of which each sees those before it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixellib.likelihoods import Likelihood
from pixellib.likelihoods.base import scale_levels
from pixellib.models.autoregressive import sampling
from pixellib.models.autoregressive.layers import CausalConv2d, Step, groups_of, here, in_float32, index_groups
from pixellib.models.base import ImageModel


class AutoregressiveModel(ImageModel):
    """p(x) = prod_i p(x_i | x_1 .. x_{i-1}), rows from the top, pixels from the left, exact in one pass.

    A subclass defines two streams. `vertical` sees the rows above a pixel, for a whole row at a time; `horizontal` sees
    the pixels to the left, and what `vertical` gave. Both take a `Step` when an image is drawn pixel by pixel.

    Where each parameter of the likelihood serves one colour channel, channels are ordered: green's parameters see red,
    blue's see red and green. A likelihood that draws a pixel's channels together (`joint`) couples them itself.

    channels: C. size: (H, W) that `sample` draws unless told. num_classes: if the model is conditioned on a class,
    condition is int64 (B,); condition_channels: if on a map, condition is float (B, D, H, W). embedding: how many
    learned numbers stand for each level at the network's input; without it the level itself does, scaled to [-1, 1].
    spread: whether `initialise` lays the components of a mixture side by side over the range, where otherwise all begin
    together, as broad as the range. TypeError for a likelihood that is no mixture.
    """

    def __init__(
        self,
        channels: int,
        size: Sequence[int],
        likelihood: Likelihood,
        *,
        num_classes: int | None = None,
        condition_channels: int | None = None,
        embedding: int | None = None,
        spread: bool = False,
    ):
        super().__init__()
        if num_classes is not None and condition_channels is not None:
            raise ValueError("a model is conditioned on a class or on a map, not on both")
        num_levels = getattr(likelihood, "num_levels", 256)
        if channels < 1 or num_levels > 256:
            raise ValueError(
                f"expected images of 1 or more channels and 256 or fewer levels, got {channels}, {likelihood}"
            )
        self.channels, self.size, self.likelihood = channels, tuple(size), likelihood
        self.num_classes, self.condition_channels, self.spread = num_classes, condition_channels, spread
        self.num_inputs = channels * (embedding or 1)
        self.embedding = nn.Embedding(num_levels, embedding) if embedding else None
        self.channel_autoregressive = channels > 1 and not likelihood.coupled_channels
        self.num_groups = channels if self.channel_autoregressive else 1
        self.conditioning = None

    @property
    def kind(self) -> str:
        return "exact" if self.likelihood.kind == "mass" else self.likelihood.kind

    def vertical(self, above: Tensor, condition: list[Tensor], step: Step | None = None) -> list[Tensor]:
        """Features for `horizontal`. above: the network's input shifted down by one row, (B, I, H, W)."""
        raise TypeError(f"{type(self).__name__} defines no vertical")

    def horizontal(
        self, left: Tensor, pixel: Tensor, vertical: list[Tensor], condition: list[Tensor], step: Step | None = None
    ) -> Tensor:
        """The likelihood's parameters. left: the network's input shifted right by one pixel, each pixel's left
        neighbour. pixel: the input itself, for ordered channels to see the earlier ones.
        """
        raise TypeError(f"{type(self).__name__} defines no horizontal")

    def add_conditioning(self, num_features: Sequence[int]) -> None:
        """Where the model takes a condition: `embed` then gives so many features of it to each of several layers."""
        if self.num_classes is not None or self.condition_channels is not None:
            self.conditioning = Conditioning(self.num_classes, self.condition_channels, num_features)

    def embed(self, condition) -> list[Tensor]:
        """What the layers add for a condition, each (B, F, 1, 1) or (B, F, H, W); nothing without one."""
        return [] if condition is None else self.conditioning(condition)

    def check_size(self, size: Sequence[int]) -> None:
        """ValueError for a height and width that the network does not allow."""

    def network(self, y: Tensor, condition=None) -> Tensor:
        """The likelihood's parameters, float (B, P, H, W), for what `inputs` makes of images, float (B, I, H, W)."""
        self.check_size(y.shape[-2:])
        condition = self.embed(self.check_condition(condition, len(y), y.shape[-2:]))
        return self.horizontal(shift_right(y), y, self.vertical(shift_down(y), condition), condition)

    def params(self, x: Tensor, condition=None) -> Tensor:
        """The likelihood's parameters, float (B, P, H, W), for images uint8 (B, C, H, W); causal in x."""
        if x.dim() != 4 or x.shape[1] != self.channels:
            raise ValueError(f"expected images (B, {self.channels}, H, W), got {tuple(x.shape)}")
        return self.network(self.inputs(x), condition)

    def log_prob(self, x: Tensor, condition=None) -> Tensor:
        """log p(x | condition), float (B,), in nats; exact where the likelihood is a mass."""
        return self.likelihood(self.params(x, condition)).log_prob(x)

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Components of a mixture are laid side by side where `spread` asks for it; images are not looked at."""
        if self.spread:
            self.likelihood.init_output_(self.output_layer, self.channels)

    def kernels(self) -> list[nn.Parameter]:
        last = {id(p) for p in self.output_layer.parameters()}
        return [p for p in super().kernels() if id(p) not in last]

    @property
    def output_layer(self) -> CausalConv2d:
        """The layer that gives the likelihood's parameters."""
        return self.last.last

    def sample(
        self,
        num_samples: int,
        *,
        condition=None,
        generator: torch.Generator | None = None,
        size: Sequence[int] | None = None,
        given: tuple[Tensor, int] | None = None,
        temperature: float = 1.0,
        cached: bool = True,
        precision: str = "auto",
        progress: bool = False,
    ) -> Tensor:
        """Images drawn pixel by pixel, uint8 (num_samples, C, H, W); see `pixellib.sampling.sample`."""
        return sampling.sample(
            self, num_samples, condition=condition, generator=generator, size=size or self.size, given=given,
            temperature=temperature, cached=cached, precision=precision, progress=progress,
        )  # fmt: skip

    def groups_of(self, num_features: int) -> Tensor | None:
        """See layers.groups_of; None where channels are not ordered."""
        return groups_of(num_features, self.num_groups)

    def parameter_groups(self) -> Tensor | None:
        """The channel of each of the likelihood's parameters; None where channels are not ordered."""
        return self.likelihood.channel_index(self.channels) if self.channel_autoregressive else None

    def inputs(self, x: Tensor) -> Tensor:
        """Images uint8 (B, C, H, W) as the network sees them, float (B, I, H, W): in [-1, 1], I = C, or I / C learned
        numbers for each level.
        """
        if self.embedding is not None:
            vectors = self.embedding(x.long()).permute(0, 1, 4, 2, 3).flatten(1, 2)
            return vectors.contiguous()  # or every layer would carry on in the layout that this one happens to have
        return scale_levels(x.to(next(self.parameters()).dtype), getattr(self.likelihood, "num_levels", 256))

    def check_condition(self, condition, num_images: int, size: Sequence[int]) -> Tensor | None:
        """The condition on the model's device, for images of that size (H, W).

        ValueError if it is missing or superfluous, out of range or of another shape.
        """
        asked = self.num_classes is not None or self.condition_channels is not None
        if (condition is None) == asked:
            raise ValueError(f"{type(self).__name__} {'needs a' if asked else 'takes no'} condition")
        if condition is None:
            return None
        weight = next(self.parameters())
        condition = torch.as_tensor(condition, device=weight.device)
        if self.num_classes is not None:
            if condition.shape != (num_images,) or condition.is_floating_point() or condition.dtype == torch.bool:
                raise ValueError(
                    f"expected one class (an integer) for each of {num_images} images, "
                    f"got {condition.dtype} {tuple(condition.shape)}"
                )
            if num_images and not 0 <= condition.min() <= condition.max() < self.num_classes:
                raise ValueError(
                    f"classes are 0..{self.num_classes - 1}, got {int(condition.min())}..{int(condition.max())}"
                )
            return condition.long()
        expected = (num_images, self.condition_channels, *size)
        if condition.shape != expected:
            raise ValueError(f"expected a map {expected}, got {tuple(condition.shape)}")
        return condition.to(weight.dtype)


def check_sizes(kernel_size: int, **counts: int) -> int:
    """How far a kernel reaches. ValueError for an even one, which has no centre, one of size 1, or counts below 1."""
    if kernel_size < 3 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and at least 3, got {kernel_size}")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    return kernel_size // 2


class FirstLayer(nn.Module):
    """What both streams see of the image itself: the rows above and the pixels to the left, never their own pixel.

    Given the image shifted by a row and by a column, it reaches kernel // 2 pixels from the current one. Where channels
    are ordered, features of later ones also see the earlier channels of the pixel.
    """

    def __init__(self, model: AutoregressiveModel, width: int, reach: int):
        super().__init__()
        features = model.groups_of(width)
        self.features = index_groups(features)
        self.above = CausalConv2d(model.num_inputs, width, above=reach - 1, left=reach, right=reach)
        self.left = CausalConv2d(model.num_inputs, width, left=reach - 1, out_groups=features)
        self.pixel = None
        if model.channel_autoregressive:
            colours = model.groups_of(model.num_inputs)
            self.pixel = CausalConv2d(model.num_inputs, width, in_groups=colours, out_groups=features, strict=True)

    def forward(self, left: Tensor, pixel: Tensor, above: Tensor, step: Step | None = None) -> Tensor:
        """The horizontal stream's features. left, pixel: see AutoregressiveModel.horizontal; above: of self.above."""
        h = self.left(left, step) + here(above, step, self.features)
        return h if self.pixel is None else h + self.pixel(pixel, step)


class LastLayers(nn.Module):
    """From features to the likelihood's parameters: two 1 x 1 convolutions, each after a ReLU."""

    def __init__(self, model: AutoregressiveModel, width: int):
        super().__init__()
        features = model.groups_of(width)
        num_params = model.likelihood.num_params(model.channels)
        self.hidden = CausalConv2d(width, width, in_groups=features, out_groups=features)
        self.last = CausalConv2d(width, num_params, in_groups=features, out_groups=model.parameter_groups())

    def forward(self, h: Tensor, step: Step | None = None) -> Tensor:
        return in_float32(self.last, F.relu(self.hidden(F.relu(h), step)), step)


class Conditioning(nn.Module):
    """For each of several layers, what a class (an embedding) or a map (a 1 x 1 convolution) adds to its features.

    Begins at zero, so that a conditioned model starts as an unconditioned one (location-independent and -dependent:
    van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders", section 2.3).
    """

    def __init__(self, num_classes: int | None, condition_channels: int | None, num_features: Sequence[int]):
        super().__init__()
        self.split = tuple(num_features)
        if num_classes is not None:
            self.layer = nn.Embedding(num_classes, sum(self.split))
        else:
            self.layer = nn.Conv2d(condition_channels, sum(self.split), 1, bias=False)
        nn.init.zeros_(self.layer.weight)

    def forward(self, condition: Tensor) -> list[Tensor]:
        out = self.layer(condition)
        return list((out[..., None, None] if out.dim() == 2 else out).split(self.split, 1))


def shift_down(x: Tensor) -> Tensor:
    """Each row gets the one above it, the first zeros."""
    return F.pad(x, (0, 0, 1, -1))


def shift_right(x: Tensor) -> Tensor:
    """Each column gets the one to its left, the first zeros."""
    return F.pad(x, (1, -1, 0, 0))
