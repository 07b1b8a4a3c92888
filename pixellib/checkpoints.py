"""Checkpoints: weights in safetensors with a header, and the state from which a training resumes.

Files appear whole or not at all: everything is written under another name, flushed to disk, then renamed.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pixellib.files import write_atomically


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used, and why."""


def save(
    path: Path | str,
    tensors: Mapping[str, Tensor],
    header: Mapping[str, Any],
    dtype: torch.dtype | None = None,
) -> Path:
    """Write tensors (floating ones as `dtype` if given) and a JSON-able header with a digest of both."""
    tensors = {
        name: t.detach().cpu().to(dtype if dtype is not None and t.is_floating_point() else t.dtype).contiguous()
        for name, t in tensors.items()
    }
    header = {**header, "sha256": _digest(tensors, header)}
    metadata = {"pixellib": json.dumps(header)}
    return write_atomically(path, lambda temporary: safetensors.torch.save_file(tensors, temporary, metadata))


def load(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a checkpoint. FileNotFoundError if there is none, CheckpointError if it is broken."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = json.loads((file.metadata() or {})["pixellib"])
        digest = header.pop("sha256")
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is truncated or not one of ours ({error})") from error
    if digest != _digest(tensors, header):
        raise CheckpointError(f"checkpoint {path} was altered: its contents do not match the digest in its header")
    return tensors, header


def read_header(path: Path | str) -> dict[str, Any]:
    """The header of a checkpoint, without reading its tensors or verifying them. CheckpointError if it has none."""
    try:
        with safetensors.safe_open(Path(path), "pt") as file:
            return json.loads((file.metadata() or {})["pixellib"])
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is truncated or not one of ours ({error})") from error


def restore(model: torch.nn.Module, tensors: Mapping[str, Tensor], source: Path | str) -> None:
    """Copy tensors into the model, which keeps its dtype. CheckpointError names what is missing or misshapen."""
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
    """Write the state of an unfinished training: tensors and plain containers only, among them an "identity"."""
    return write_atomically(path, lambda temporary: torch.save(dict(state), temporary))


def load_resume(path: Path | str) -> dict[str, Any] | None:
    """The state written by `save_resume`, or None if there is none. CheckpointError if it is broken."""
    path = Path(path)
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not compare the checksums it wrote
            if archive.testzip() is not None:
                raise ValueError("a checksum does not match")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if "identity" not in state:
            raise ValueError("there is no identity in it")
    except Exception as error:  # whatever a broken zip or a forbidden pickle raises, the answer is the same
        raise CheckpointError(
            f"cannot resume from {path}: it is truncated, altered or not one of ours; delete it to start afresh"
        ) from error
    return state


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        t = tensors[name]
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(t.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
