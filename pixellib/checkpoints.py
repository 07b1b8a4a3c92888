"""Checkpoints: weights in safetensors with a header, and the state from which a training resumes.

Files appear whole or not at all (see `pixellib.files`). Only a resume state is unpickled, with `weights_only=True`.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pixellib import files


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used, and why."""


def save(
    path: Path | str,
    tensors: Mapping[str, Tensor],
    header: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a checkpoint, atomically, and return its path.

    tensors: floating ones are stored as `dtype` if that is given. header: any mapping that JSON can hold; empty if
    None. Two digests are added to it: "weights_sha256" of the tensors as stored (see `weights_sha256`), and one of
    both, which `load` verifies. CheckpointError for numbers that are too large for `dtype`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(f"{folder}/a.safetensors", {"weight": torch.ones(2)}, {"name": "a"}, dtype=torch.float16)
    ...     tensors, header = load(path)
    >>> tensors["weight"], header["name"]
    (tensor([1., 1.], dtype=torch.float16), 'a')
    """
    given = tensors
    tensors = {
        name: t.detach().cpu().to(dtype if dtype is not None and t.is_floating_point() else t.dtype).contiguous()
        for name, t in given.items()
    }
    for name, t in tensors.items():
        if t.dtype != given[name].dtype and t.isinf().sum() != given[name].isinf().sum():
            raise CheckpointError(f"checkpoint {path}: {name} holds numbers that are too large for {dtype}")
    header = json.loads(json.dumps({**(header or {}), "weights_sha256": weights_sha256(tensors)}))
    metadata = {"pixellib": json.dumps({**header, "sha256": _digest(tensors, header)})}
    content = safetensors.torch.save(tensors, metadata)
    return files.write_atomically(path, lambda temporary: temporary.write_bytes(content))


def load(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a checkpoint; the header holds "weights_sha256" besides what was given to `save`.

    FileNotFoundError if there is none; CheckpointError, naming the file and what is wrong, if it is broken, was
    altered, or is none of ours.
    """
    path = _regular_file(path)
    with _naming_what_is_wrong(path), safetensors.safe_open(path, "pt") as file:
        header, digest = _parse_header(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found = _digest(tensors, header)
    if digest != found:
        raise CheckpointError(f"checkpoint {path} was altered: its contents do not match the digest in its header")
    if "weights_sha256" not in header:  # written before headers had one
        header["weights_sha256"] = weights_sha256(tensors)
    return tensors, header


def read_header(path: Path | str) -> dict[str, Any]:
    """The header of a checkpoint, as `load` returns it, without reading or verifying the tensors. Same errors.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     read_header(save(f"{folder}/a.safetensors", {}, {"name": "a"}))["name"]
    'a'
    """
    path = _regular_file(path)
    with _naming_what_is_wrong(path), safetensors.safe_open(path, "pt") as file:
        return _parse_header(file.metadata())[0]


def restore(model: torch.nn.Module, tensors: Mapping[str, Tensor], source: Path | str = "given") -> None:
    """Copy tensors into the model, which keeps its dtype. source: the name of their file, for errors.

    CheckpointError names what is missing or has another shape; the model is then as it was.

    >>> model = torch.nn.Linear(1, 1)
    >>> restore(model, {"weight": torch.ones(1, 1).half(), "bias": torch.zeros(1).half()}, "a.safetensors")
    >>> model.weight.dtype, model.weight.item()
    (torch.float32, 1.0)
    """
    own = model.state_dict()
    wrong = [f"missing {name}" for name in own.keys() - tensors.keys()]
    wrong += [f"surplus {name}" for name in tensors.keys() - own.keys()]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    if wrong:
        raise CheckpointError(f"checkpoint {source} does not fit the model: {'; '.join(sorted(wrong)[:5])}")
    model.load_state_dict({name: tensors[name].to(own[name].dtype) for name in own})


def save_resume(path: Path | str, state: Mapping[str, Any]) -> Path:
    """Write the state of an unfinished training: tensors and plain containers only, among them a dict "identity".

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_resume(save_resume(f"{folder}/resume.pt", {"identity": {"seed": 0}, "step": 7}))["step"]
    7
    """

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:  # torch.save of a path would not say that the disk is full
            torch.save(dict(state), file)

    return files.write_atomically(path, write)


def load_resume(path: Path | str) -> dict[str, Any] | None:
    """The state written by `save_resume`, or None if there is none. CheckpointError if it is broken."""
    path = files.check_path(path)
    if (kind := files.kind_of_file(path)) == "missing":
        return None
    if kind != "file":
        raise CheckpointError(f"cannot resume from {path}: it is a {kind}, not a file")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not compare the checksums it wrote
            if archive.testzip() is not None:
                raise ValueError("a checksum does not match")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not isinstance(state.get("identity"), dict):
            raise ValueError("it has no identity")
    except (MemoryError, PermissionError):
        raise  # the file may well be whole
    except Exception as error:  # whatever a broken zip or a forbidden pickle raises, the answer is the same
        raise CheckpointError(
            f"cannot resume from {path}: it is truncated, altered or not one of ours; delete it to start afresh"
        ) from error
    return state


def identity_hash(identity: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for what a training is: the start of the SHA-256 of its canonical JSON.

    identity: a mapping that JSON can hold. Neither the order of its keys matters, nor whether a sequence is a tuple.

    >>> identity_hash({"seed": 0, "size": (28, 28)}) == identity_hash({"size": [28, 28], "seed": 0})
    True
    >>> identity_hash({"seed": 0})
    'bd0488843468e63c'
    """
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def identity_differences(theirs: Mapping[str, Any], mine: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two identities, by key; nested keys are joined by dots.

    >>> identity_differences({"seed": 0, "model": {"beta": 1.0}}, {"seed": 0, "model": {"beta": 7.0}})
    ['model.beta is 1.0, not 7.0']
    """
    absent, differences = "absent", []
    for key in dict.fromkeys([*mine, *theirs]):
        one, two = theirs.get(key, absent), mine.get(key, absent)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            differences += identity_differences(one, two, f"{prefix}{key}.")
        elif identity_hash({"": one}) != identity_hash({"": two}):
            differences.append(f"{prefix}{key} is {_shorten(one)}, not {_shorten(two)}")
    return differences


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors, with their names, types and shapes: by this a checkpoint can be named.

    >>> weights_sha256({"weight": torch.ones(2)})[:16]
    '3005f35c72d75e8a'
    """
    return _update(hashlib.sha256(), tensors).hexdigest()


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    return _update(hashlib.sha256(json.dumps(header, sort_keys=True).encode()), tensors).hexdigest()


def _update(digest: Any, tensors: Mapping[str, Tensor]) -> Any:
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(t.flatten().view(torch.uint8).numpy().data)
    return digest


def _regular_file(path: Path | str) -> Path:
    path = files.check_path(path)
    if (kind := files.kind_of_file(path)) == "missing":
        raise FileNotFoundError(f"there is no checkpoint {path}")
    if kind != "file":
        raise CheckpointError(f"checkpoint {path} is a {kind}, not a file")
    return path


@contextmanager
def _naming_what_is_wrong(path: Path) -> Iterator[None]:
    try:
        yield
    except (MemoryError, PermissionError):
        raise  # the file may well be whole
    except Exception as error:  # whatever a broken file raises, the answer is the same
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise CheckpointError(f"checkpoint {path} is truncated or not one of ours ({_shorten(reason, 200)})") from error


def _parse_header(metadata: Mapping[str, str] | None) -> tuple[dict[str, Any], str]:
    """Our header in the metadata of a file of safetensors, and the digest that was in it."""
    header = json.loads((metadata or {})["pixellib"])
    if not isinstance(header, dict):
        raise TypeError(f"its header is {type(header).__name__}, not an object")
    return header, header.pop("sha256")


def _shorten(value: object, length: int = 60) -> str:
    text = str(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
