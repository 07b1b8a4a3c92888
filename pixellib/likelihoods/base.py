"""What every observation model and its distribution offer, and how images are matched to parameters."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.utils import parametrize

Kind = Literal["mass", "density", "improper"]
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)  # the types that levels may have


@runtime_checkable
class Likelihood(Protocol):
    """An observation model p(x | params): how a network's output is read.

    Calling it with params, float (B, P, H, W), gives an `ImageDistribution` of batch shape (B,) and event shape
    (C, H, W). ValueError for parameters of another shape or type, FloatingPointError if one is not finite.

    Any object with these members is one. Ours are frozen dataclasses, whose repr names every setting; the identity of a
    training contains it.

    >>> from pixellib.likelihoods import Categorical
    >>> isinstance(Categorical(), Likelihood)
    True
    """

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What log_prob is the logarithm of."""

    @property
    @abstractmethod
    def coupled_channels(self) -> bool:
        """Whether the channels of a pixel share parameters and are drawn together."""

    @property
    @abstractmethod
    def num_levels(self) -> int:
        """L: images hold values from 0 to L-1, all of them unless the distribution's `values` says otherwise."""

    @abstractmethod
    def num_params(self, channels: int) -> int:
        """P: how many parameters the network gives each pixel of an image with so many colour channels."""

    @abstractmethod
    def channel_index(self, channels: int) -> Tensor:
        """int64 (P,): the colour channel each parameter serves, 0 for shared ones."""

    @abstractmethod
    def __call__(self, params: Tensor) -> "ImageDistribution":
        """The distribution of images under params, float (B, P, H, W)."""

    @abstractmethod
    def init_output_(self, layer: nn.Module, channels: int) -> None:
        """Set a network's last layer, in place, to where training should begin; may do nothing.

        layer: has a `weight`, perhaps under weight normalisation, and a `bias`, float (P,).
        """


class NotFiniteError(FloatingPointError, ValueError):
    """A parameter is NaN or infinite. Also a ValueError, which is what PyTorch's distributions raise."""


class OneOf(constraints.Constraint):
    """A few values and no other: `OneOf(0, 255)` is what a binary image holds."""

    is_discrete = True

    def __init__(self, *values: int):
        self.values = values
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return torch.stack([value == v for v in self.values]).any(0)

    def __repr__(self) -> str:
        return f"OneOf{self.values}"


class LevelsOfDensity(constraints.Constraint):
    """The integers 0..L-1, at which the density of a continuous image is evaluated.

    Not discrete: the density is of a continuous variable, and its values at the levels do not sum to one.
    """

    def __init__(self, num_levels: int):
        self.num_levels = num_levels
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return (value % 1 == 0) & (value >= 0) & (value <= self.num_levels - 1)

    def __repr__(self) -> str:
        return f"LevelsOfDensity(num_levels={self.num_levels})"


class ImageDistribution(Distribution):
    """A distribution of images with batch shape (...) and event shape (C, H, W); the base of all others here.

    Values are integer tensors (uint8, say) of shape (..., C, H, W), which broadcast against the batch shape. Log-
    probabilities are in nats, and float32 unless the parameters are float64.

    validate_args: as for PyTorch's distributions; None means its default, `Distribution.set_default_validate_args`.
    If true, parameters that are not finite raise `NotFiniteError` and values outside the support raise ValueError.
    Shapes and types are always checked. Under `torch.vmap` and `torch.compile` the values of tensors cannot be
    inspected, so that the checks of values are skipped there.

    A subclass defines `log_prob_per_pixel` and `sample`, `conditional_log_pmf`, which a temperature and `compress`
    need, and `mean` if it is wanted.
    """

    num_levels = 256

    def __init__(self, batch_shape: torch.Size, event_shape: torch.Size, validate_args: bool | None):
        if self._validate_args if validate_args is None else validate_args:
            for name in self.arg_constraints:
                check_finite(class_name(self), name, getattr(self, name))
        # What remains of PyTorch's own check of parameters is that they are not NaN, which has been seen to.
        super().__init__(torch.Size(batch_shape), torch.Size(event_shape), validate_args=False)
        self._validate_args = type(self)._validate_args if validate_args is None else validate_args

    @property
    def values(self) -> Sequence[int]:
        """The level of each entry of conditional_log_pmf; all L of them unless a subclass says otherwise."""
        return range(self.num_levels)

    @property
    def support(self) -> constraints.Constraint:
        """0..L-1 for each sub-pixel."""
        return constraints.independent(constraints.integer_interval(0, self.num_levels - 1), 3)

    @property
    def has_enumerate_support(self) -> bool:
        """True for images of one sub-pixel; all others have too many values to list."""
        return self.event_shape.numel() == 1 and self.support.is_discrete

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, of the batch shape; x: integers (..., C, H, W).

        ValueError for images of another size or type or, if arguments are validated, outside the support.
        """
        return self.log_prob_per_pixel(x).sum((-2, -1))

    def log_prob_per_pixel(self, x: Tensor, fused: bool = True) -> Tensor:
        """log p of each pixel in nats, all its channels together: float (..., H, W).

        fused: compute the gradient in the same pass, where the family can (the logistics do); that is faster, but rules
            out second derivatives, `torch.export` and `torch.compile(fullgraph=True)`. Others ignore it.
        """
        raise NotImplementedError

    def conditional_log_pmf(self, x: Tensor | None = None) -> Tensor:
        """The log-probability in nats of each of `values`, later channels given x's earlier ones: float
        (..., L, C, H, W), with as many entries as there are values in place of L. x may be missing where no channel
        depends on another.
        """
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of an image of one sub-pixel: (L, ..., 1, 1, 1). NotImplementedError for larger images."""
        if not self.has_enumerate_support:
            raise NotImplementedError(
                f"the values of images {tuple(self.event_shape)} are not enumerated; conditional_log_pmf gives the "
                "probability of each level of each sub-pixel"
            )
        levels = torch.tensor(self.values, dtype=levels_dtype(self.num_levels), device=self._device)
        levels = levels.view(-1, *[1] * (len(self.batch_shape) + 3))
        return levels.expand(-1, *self.batch_shape, 1, 1, 1) if expand else levels

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> "ImageDistribution":
        """The same distribution for a larger batch shape, without copying parameters."""
        new = type(self).__new__(type(self)) if _instance is None else _instance
        new.__dict__.update(self.__dict__)
        new._batch_shape = torch.Size(batch_shape)
        for name in self.arg_constraints:
            tensor = getattr(self, name)
            setattr(new, name, tensor.expand(*new._batch_shape, *tensor.shape[len(self.batch_shape) :]))
        return new

    def __repr__(self) -> str:
        parts = {name: getattr(self, name) for name in self.arg_constraints}
        shown = (f"{name}: {t if t.numel() == 1 else t.size()}" for name, t in parts.items())
        return f"{class_name(self)}({', '.join(shown)})"

    @property
    def _device(self) -> torch.device:
        """Where the parameters are."""
        return getattr(self, next(iter(self.arg_constraints))).device

    def _values_checked(self) -> "ImageDistribution":
        """Itself, checking values, for a likelihood, which has checked the parameters: whatever the default is, because
        torch.compile switches that off for the whole process.
        """
        self._validate_args = True
        return self

    def _given(self, x: Tensor | None, log_pmf: Tensor) -> Tensor:
        """What does not depend on the images, float (..., L, C, H, W), for each of them: with their batch shape."""
        return log_pmf if x is None else log_pmf.expand(*self._check(x), *log_pmf.shape[-4:])

    def _check(self, x: Tensor) -> torch.Size:
        """The common batch shape of images and parameters. ValueError for images of other sizes, types or values."""
        return check_images(self, x)


def class_name(distribution: Distribution) -> str:
    """The name under which its class is known; subclasses that only store parameters differently are private."""
    return next(c.__name__ for c in type(distribution).__mro__ if not c.__name__.startswith("_"))


def gain_of(layer: nn.Module) -> Tensor:
    """What scales a layer's output: its weight, or its gains under weight normalisation."""
    return layer.parametrizations.weight.original0 if parametrize.is_parametrized(layer) else layer.weight


def at_least_float32(t: Tensor) -> Tensor:
    """In float32, or float64 if it is that: likelihoods do not compute in half precision."""
    return t if t.dtype == torch.float64 else t.float()


def entropy_of(log_p: Tensor) -> Tensor:
    """-p log p in nats, elementwise; 0 where p is 0, with a gradient of 0 there."""
    return -log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)


def levels_dtype(num_levels: int) -> torch.dtype:
    """Of sampled images: uint8 as long as the levels fit."""
    return torch.uint8 if num_levels <= 256 else torch.int64


def check_tensors(name: str, num_dims: int, **tensors: Tensor) -> None:
    """ValueError naming the argument unless each is a float tensor of so many or more dimensions."""
    for key, t in tensors.items():
        if not isinstance(t, Tensor) or not t.is_floating_point() or t.dim() < num_dims:
            got = f"{t.dtype} {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
            raise ValueError(f"{name} expects {key} as a float tensor of {num_dims} or more dimensions, got {got}")


def real_tensors(name: str, num_dims: int, **tensors: Tensor) -> list[Tensor]:
    """Parameters, checked by `check_tensors`, in their common float type, at least float32."""
    check_tensors(name, num_dims, **tensors)
    double = any(t.dtype == torch.float64 for t in tensors.values())
    return [t.double() if double else t.float() for t in tensors.values()]


def check_params(name: str, params: Tensor, multiple: int) -> int:
    """The number of colour channels C of params (..., P, H, W), where P = C * multiple.

    ValueError for another shape or type, NotFiniteError for parameters that are not finite.
    """
    expected = "float parameters (..., P, H, W)" + f" with P a multiple of {multiple}" * (multiple > 1)
    if not isinstance(params, Tensor):
        raise ValueError(f"{name} expects {expected}, got {type(params).__name__}")
    if params.dim() < 3 or params.shape[-3] % multiple or not params.is_floating_point():
        raise ValueError(f"{name} expects {expected}, got {params.dtype} {tuple(params.shape)}")
    check_finite(name, "parameters", params)
    return params.shape[-3] // multiple


def check_finite(name: str, what: str, t: Tensor) -> None:
    """NotFiniteError naming distribution and tensor if an element is NaN or infinite."""
    t = t.detach()
    if known(torch.isfinite(t.sum())) is False and not torch.isfinite(t).all():  # a sum is cheaper, but may overflow
        raise NotFiniteError(f"{name}: the {what} are not finite")


def check_images(d: ImageDistribution, x: Tensor) -> torch.Size:
    """The common batch shape of images and distribution. ValueError for images of other sizes, types or values."""
    name, batch_shape, event_shape = class_name(d), d.batch_shape, d.event_shape
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} expects images as a tensor, got {type(x).__name__}")
    batches = zip(reversed(batch_shape), reversed(x.shape[:-3]), strict=False)
    if x.shape[-3:] != event_shape or any(mine != its and 1 not in (mine, its) for mine, its in batches):
        expected = f"{tuple(batch_shape)} of {tuple(event_shape)}"
        raise ValueError(f"{name} expects images for a batch {expected}, got {tuple(x.shape)}")
    if x.dtype not in INTEGERS:
        raise ValueError(f"{name} expects integer images (uint8, or int64 beyond 256 levels), got {x.dtype}")
    if d._validate_args and x.numel() and not (x.dtype == torch.uint8 and d.num_levels >= 256):
        low, high = (known(v) for v in x.aminmax())
        if low is not None and (low < 0 or high >= d.num_levels):
            raise ValueError(f"{name} expects values 0..{d.num_levels - 1}, got values {low}..{high}")
    return torch.broadcast_shapes(batch_shape, x.shape[:-3])


def known(t: Tensor) -> bool | float | None:
    """The value of a tensor of one element; None under torch.vmap, which does not allow a look at values, and where
    torch.compile is at work, whose program would end there.
    """
    if torch.compiler.is_compiling():
        return None
    try:
        return t.item()
    except RuntimeError as error:
        if "vmap" in str(error):
            return None
        raise


def check_int(name: str, value: int, low: int, high: float = math.inf) -> None:
    """ValueError naming the argument unless it is an integer in low..high."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not low <= value <= high:
        bound = f"of at least {low}" if high == math.inf else f"in {low}..{high}"
        raise ValueError(f"{name} must be an integer {bound}, got {value!r}")


def check_number(name: str, value: float) -> None:
    """ValueError naming the argument unless it is a finite number."""
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")


def check_choice(name: str, value: str, *choices: str) -> None:
    """ValueError naming the argument unless it is one of the choices."""
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}; choose {' or '.join([', '.join(choices[:-1]), choices[-1]])}")
