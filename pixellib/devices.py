"""Which device to compute on, in what precision, and with how many processes."""

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
import torch.distributed as dist
from torch import nn

PRECISIONS = ("auto", "bf16", "fp32")


def resolve(device: str = "auto") -> torch.device:
    """The device named, or for "auto" a GPU where there is one. ValueError for a device this machine does not have.

    >>> resolve("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved).item()  # "meta" makes tensors too, but computes nothing
    except (RuntimeError, AssertionError) as error:
        found = ["auto", "cpu"] + ["cuda"] * torch.cuda.is_available()
        raise ValueError(f"device {device!r} is not available here; choose one of {', '.join(found)}") from error
    return resolved


def of_model(model: nn.Module) -> torch.device:
    """The device of a model's parameters; the CPU for a model without any.

    >>> of_model(nn.Linear(1, 1))
    device(type='cpu')
    """
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware.

    >>> has_bf16(torch.device("cpu")) in (True, False)
    True
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))


def check_precision(precision: str) -> str:
    """The precision, or ValueError if it is none of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
    return precision


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager:
    """Autocasting of networks to bfloat16, for precision "bf16", or for "auto" where the device has it; "fp32" switches
    autocasting off.

    On CUDA, "fp32" leaves PyTorch's own setting of TensorFloat-32 as it is: by default, convolutions use it.
    Likelihoods convert their parameters to float32 themselves, so that no reduction happens in bfloat16. ValueError for
    another precision.

    >>> with autocast(torch.device("cpu"), "bf16"):
    ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
    torch.bfloat16
    """
    check_precision(precision)
    enabled = precision == "bf16" or (precision == "auto" and has_bf16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def autocast_dtype(x: torch.Tensor) -> torch.dtype:
    """The type in which a convolution of x computes: x's, or that of autocasting where it is on and x is float32."""
    if x.dtype == torch.float32 and torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def check_compiler(device: torch.device) -> None:
    """RuntimeError where `torch.compile` could not work: on the CPU it needs a C++ compiler, named by the environment
    variable CXX, or else g++ or clang++.
    """
    if device.type == "cpu" and not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        raise RuntimeError("compile=True needs a C++ compiler, and there is none: install g++, or leave it False")


def hardware(device: torch.device) -> str:
    """The name of what computes on a device, in a line for records; for the CPU with its number of threads.

    >>> "thread" in hardware(torch.device("cpu"))
    True
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{torch.cpu.get_capabilities().get('cpu_name', 'CPU')}, {threads} thread{'s' * (threads > 1)}"


@contextmanager
def process_group() -> Iterator[int]:
    """The rank among the processes that torchrun started, with their group set up; 0 where there is only this one.

    >>> with process_group() as rank:
    ...     rank
    0
    """
    if "LOCAL_RANK" not in os.environ:
        yield 0
        return
    has_cuda, rank = torch.cuda.is_available(), int(os.environ["LOCAL_RANK"])
    if has_cuda and rank < torch.cuda.device_count():  # there may be more processes, which compute on the CPU
        torch.cuda.set_device(rank)
    dist.init_process_group("cpu:gloo,cuda:nccl" if has_cuda else "gloo")
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def world_and_rank() -> tuple[int, int]:
    """The number of processes that share the work, and which of them this is; (1, 0) without a process group.

    >>> world_and_rank()
    (1, 0)
    """
    return (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)


def of_this_process(device: str) -> str:
    """The device's name, or for "auto" and "cuda" in a process that torchrun started the GPU that is this one's."""
    if "LOCAL_RANK" in os.environ and device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device
