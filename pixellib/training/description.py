"""What a training is, in plain values, so that one training can be told from another."""

import functools
import hashlib
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def describe_training(
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None,
    validation: Tensor | None,
    validation_labels: Tensor | None,
    transform: Callable | None,
) -> dict[str, Any]:
    """The model and the data of a training: a mapping that JSON can hold."""
    return {
        "model": describe_model(model),
        "images": tensor_sha256(images),
        "labels": tensor_sha256(labels),
        "validation": tensor_sha256(validation),
        "validation_labels": tensor_sha256(validation_labels),
        "transform": None if transform is None else describe_object(transform),
    }


def describe_model(model: nn.Module) -> dict[str, Any]:
    """The class and the public attributes of a model and of all modules in it, whose names come before, with a dot.

    Attributes are the plain ones: numbers, strings, booleans, sequences and mappings of those, tensors (by their
    digest), functions and classes (by name), and other objects, such as likelihoods, by their repr. Parameters, buffers
    and attributes that begin with an underscore are left out.

    >>> describe_model(nn.Sequential(nn.Dropout(0.5)))
    {'class': 'Sequential', '0.class': 'Dropout', '0.p': 0.5, '0.inplace': False}
    """
    description = {}
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        description[f"{prefix}class"] = type(module).__qualname__
        for key, value in vars(module).items():
            if not key.startswith("_") and key != "training" and not _is_local(value):
                description[prefix + key] = _plain(value)
    return description


def describe_object(value: object) -> str:
    """A function or class by its name, any other object by its repr without addresses in memory, or by its attributes
    where its class defines no repr.

    >>> from pixellib.data import binarise
    >>> describe_object(binarise), describe_object(functools.partial(max, 3))
    ('binarise', 'partial(max, 3)')
    """
    if isinstance(value, functools.partial):
        keywords = [f"{key}={_plain(argument)!r}" for key, argument in value.keywords.items()]
        arguments = [describe_object(value.func), *(repr(_plain(argument)) for argument in value.args), *keywords]
        return f"partial({', '.join(arguments)})"
    if isinstance(value, types.MethodType):
        return f"{value.__qualname__} of {describe_object(value.__self__)}"
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if name and callable(value):
        return name
    if type(value).__repr__ is object.__repr__:
        parts = (f"{key}={_plain(part)!r}" for key, part in getattr(value, "__dict__", {}).items())
        return f"{type(value).__qualname__}({', '.join(parts)})"
    return _ADDRESS.sub("", repr(value))


def tensor_sha256(t: Tensor | None) -> str | None:
    """SHA-256 of a tensor's type, shape and values, read in parts, so that it may be mapped from a file; None of None.

    >>> tensor_sha256(torch.zeros(2, dtype=torch.uint8))[:16]
    'c3c1fa9cde4ecfa0'
    """
    if t is None:
        return None
    digest = hashlib.sha256(f"{t.dtype} {tuple(t.shape)}".encode())
    for part in t.detach().flatten().split(2**24) if t.is_contiguous() else t.detach().split(4096):
        digest.update(part.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor | np.ndarray):
        return tensor_sha256(torch.as_tensor(value))
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    return describe_object(value)


def _is_local(value: object) -> bool:
    """Whether it is a function without a name of its own, such as a test or a notebook hangs on a model."""
    return callable(value) and "<" in getattr(value, "__qualname__", "")
