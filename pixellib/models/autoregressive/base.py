"""What all autoregressive models share: p(x) as a product over pixels, of which each sees those before it."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from pixellib.data.transforms import scale
from pixellib.likelihoods import ImageDistribution, Likelihood
from pixellib.models.autoregressive import sampling
from pixellib.models.autoregressive.channels import ChannelIndex
from pixellib.models.base import ImageModel
from pixellib.models.checks import check_counts, check_images, check_likelihood, check_range, check_shape


class AutoregressiveModel(ImageModel):
    """p(x) = prod_i p(x_i | x_1 .. x_{i-1}), rows from the top, pixels from the left, exact in one pass.

    A subclass defines `network`, from the scaled image to the likelihood's parameters. At every pixel these may depend
    only on the pixels before it in raster order, which `assert_causal` checks. It can then be trained, evaluated and
    sampled from; for sampling that keeps activations from pixel to pixel see `TwoStreamModel`.

    Where each parameter of the likelihood serves one colour channel, the model is autoregressive over the channels too:
    green's parameters may see red at their own pixel, blue's red and green. A likelihood with `coupled_channels` draws
    a pixel's channels together, and then no parameter may see its own pixel.

    channels: C. size: (H, W) of the images that `sample` draws unless told otherwise. likelihood: where it has more
    than 256 levels, images are int64 instead of uint8. num_classes: if the model is conditioned on a class, condition
    is int64 (B,). condition_channels: if on a map of D channels, condition is float (B, D, H, W). embedding: how many
    learned numbers stand for each level at the network's input; if None, the level itself does, scaled to [-1, 1].
    init_output: whether `initialise` sets the output layer to where the likelihood says that training should begin.

    ValueError for numbers below 1, for something else than a likelihood, and for conditioning on both a class and a
    map.

    >>> from pixellib.likelihoods import Bernoulli
    >>> class FromAbove(AutoregressiveModel):  # every pixel is predicted from the one above it
    ...     def __init__(self):
    ...         super().__init__(1, (4, 4), Bernoulli())
    ...         self.layer = nn.Conv2d(1, 1, 1)
    ...
    ...     def network(self, y, condition=None):
    ...         return self.layer(nn.functional.pad(y, (0, 0, 1, -1)))
    >>> x = FromAbove().sample(2)
    >>> FromAbove()(x).log_prob_per_pixel(x).shape
    torch.Size([2, 4, 4])
    """

    supports_cache: ClassVar[bool] = False  # whether `sample` can keep activations from pixel to pixel

    def __init__(
        self,
        channels: int,
        size: Sequence[int],
        likelihood: Likelihood,
        *,
        num_classes: int | None = None,
        condition_channels: int | None = None,
        embedding: int | None = None,
        init_output: bool = False,
    ):
        super().__init__()
        self.size = check_shape(channels, size)
        optional = {"num_classes": num_classes, "condition_channels": condition_channels, "embedding": embedding}
        check_counts(**{name: count for name, count in optional.items() if count is not None})
        if num_classes is not None and condition_channels is not None:
            raise ValueError("a model is conditioned on a class or on a map, not on both")
        self.channels, self.likelihood, self.init_output = channels, check_likelihood(likelihood), init_output
        self.num_classes, self.condition_channels = num_classes, condition_channels
        self.num_inputs = channels * (embedding or 1)
        self.embedding = nn.Embedding(likelihood.num_levels, embedding) if embedding else None
        self.channel_autoregressive = channels > 1 and not likelihood.coupled_channels
        self.param_channels = None
        if self.channel_autoregressive:
            self.param_channels = ChannelIndex(self.param_channel_index())

    @abstractmethod
    def network(self, y: Tensor, condition: Tensor | None = None) -> Tensor:
        """The likelihood's parameters, float (B, P, H, W), for what `inputs` makes of images, float (B, I, H, W).

        condition: as `check_condition` returns it.
        """

    @property
    def output_layer(self) -> nn.Module | None:
        """The layer whose output the likelihood's parameters are: its `weight` and `bias` are what `init_output` sets,
        and its weight is none of the `kernels`. None unless overridden.
        """
        return None

    def param_channel_index(self) -> Tensor | None:
        """The colour channel of each of the likelihood's parameters, int64 (P,), on the CPU; None where the model is
        not autoregressive over channels.
        """
        with torch.device("cpu"):
            return self.likelihood.channel_index(self.channels) if self.channel_autoregressive else None

    @property
    def kind(self) -> str:
        return "exact" if self.likelihood.kind == "mass" else self.likelihood.kind

    def forward(self, x: Tensor, condition: Tensor | None = None) -> ImageDistribution:
        """p(. | condition), each pixel given those of x before it: a distribution of images, in which x is scored.

        x: uint8 (B, C, H, W). `model(x).log_prob(x)` is `model.log_prob(x)`, and `model(x).log_prob_per_pixel(x)` its
        part of each pixel.
        """
        return self.likelihood(self.params(x, condition))

    def params(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The likelihood's parameters, float (B, P, H, W), for images uint8 (B, C, H, W); causal in x.

        ValueError for images or a condition that do not fit the model.
        """
        check_images(x, self.channels)
        return self.network(self.inputs(x), self.check_condition(condition, len(x), x.shape[-2:]))

    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """log p(x | condition), float (B,), in nats; exact where the likelihood is a mass."""
        return self(x, condition).log_prob(x)

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Sets the output layer if `init_output` asks for it; does not look at the images.

        TypeError if the model names no `output_layer`.
        """
        if self.init_output:
            if self.output_layer is None:
                raise TypeError(f"init_output needs an output_layer, which {type(self).__name__} does not define")
            self.likelihood.init_output_(self.output_layer, self.channels)

    def kernels(self) -> list[nn.Parameter]:
        last = set() if self.output_layer is None else {id(p) for p in self.output_layer.parameters()}
        return [p for p in super().kernels() if id(p) not in last]

    def sample(
        self,
        num_samples: int,
        *,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
        size: Sequence[int] | None = None,
        given: tuple[Tensor, int | Tensor] | None = None,
        temperature: float = 1.0,
        cached: bool = True,
        precision: str = "auto",
        progress: bool = False,
    ) -> Tensor:
        """Images drawn pixel by pixel, uint8 (num_samples, C, H, W), on the model's device.

        size: (H, W), any that the network allows; `self.size` if None. given: (image, num_known_rows), the image uint8
        (C, H, W) or (num_samples, C, H, W); its first rows are kept and the rest is drawn. Or (image, mask), the mask
        bool (H, W) or (num_samples, H, W), True where a pixel is kept. A pixel is drawn given those before it: what is
        kept below does not act on what is drawn above, so only kept rows give draws from the exact conditional.
        temperature: each sub-pixel
        is drawn from p^(1/T), normalised; below 1 samples are more probable, above 1 more varied. cached: keep
        activations from pixel to pixel if the model can; otherwise every sub-pixel takes a forward pass, which slowly
        gives the same images in float32, and other ones in bfloat16, which rounds either in its own way. precision: of
        the network, "fp32", "bf16" or "auto", which is bf16 where the device has it; likelihoods compute in float32 at
        least. A model in float64 stays there.

        ValueError for numbers, sizes or temperatures that are not positive, for more than 16 GiB of images, and for a
        given image or condition that does not fit. FloatingPointError if the parameters are not finite.
        """
        return sampling.sample(
            self, num_samples, condition=condition, generator=generator, size=self.size if size is None else size,
            given=given, temperature=temperature, cached=cached, precision=precision, progress=progress,
        )  # fmt: skip

    def fill(
        self,
        x: Tensor,
        choose: sampling.Choice,
        *,
        condition: Tensor | None = None,
        precision: str = "auto",
    ) -> None:
        """Set the pixels of x, uint8 (B, C, H, W), in place and in raster order, each to what `choose` says.

        choose(pixels, row, column, channels) is given the distribution of the next pixels, of batch shape (B,) and
        event shape (C', 1, 1), their row and column, and a slice of the C' channels that are set together; it returns
        uint8 (B, C', 1, 1). What x holds beforehand is not looked at. With draws this is `sample`; with an entropy
        coder it is compression. condition, precision: see `sample`.

        ValueError for images or a condition that do not fit.

        >>> from pixellib.models import GatedPixelCNN
        >>> model = GatedPixelCNN(1, (4, 4), num_layers=1, num_filters=4, kernel_size=3)
        >>> x = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
        >>> def brightest(pixels, row, column, channels):
        ...     return torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)
        >>> model.fill(x, brightest)
        >>> x.min()
        tensor(255, dtype=torch.uint8)
        """
        check_images(x, self.channels)
        self.check_size(x.shape[-2:])
        condition = self.check_condition(condition, len(x), x.shape[-2:])
        sampling.fill(self, x, choose, condition=condition, precision=precision)

    def inputs(self, x: Tensor) -> Tensor:
        """Images uint8 (B, C, H, W) as the network sees them, float (B, I, H, W): in [-1, 1], I = C, or I / C learned
        numbers for each level. ValueError for levels that have none, TypeError for weights in half precision.
        """
        dtype = next(self.parameters()).dtype
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"weights must be float32 or float64, got {dtype}: for bfloat16, use torch.autocast")
        if self.embedding is None:
            return scale(x.to(dtype), self.likelihood.num_levels)
        num_levels = self.embedding.num_embeddings
        if x.numel() and (num_levels < 256 or x.dtype != torch.uint8):
            check_range("levels", x, num_levels)
        vectors = self.embedding(x.long()).permute(0, 1, 4, 2, 3).flatten(1, 2)
        return vectors.contiguous()  # or every layer would carry on in the layout that this one happens to have

    def check_size(self, size: Sequence[int]) -> None:
        """ValueError for a height and width that the network does not allow; any is allowed unless overridden."""

    def check_presence(self, condition: Tensor | None) -> None:
        """ValueError if a condition is missing or superfluous."""
        conditioned = self.num_classes is not None or self.condition_channels is not None
        if (condition is None) == conditioned:
            raise ValueError(f"{type(self).__name__} {'needs a' if conditioned else 'takes no'} condition")

    def check_condition(self, condition: Tensor | None, num_images: int, size: Sequence[int]) -> Tensor | None:
        """The condition on the model's device, for that many images of that size (H, W): int64 (B,) or float (B, D, H,
        W).

        ValueError if it is missing or superfluous, out of range or of another shape.
        """
        self.check_presence(condition)
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
            if num_images:
                check_range("classes", condition, self.num_classes)
            return condition.long()
        expected = (num_images, self.condition_channels, *size)
        if condition.shape != expected:
            raise ValueError(f"expected a map {expected}, got {tuple(condition.shape)}")
        return condition.to(weight.dtype)
