"""Which device to compute on, and in what precision."""

from contextlib import AbstractContextManager

import torch


def resolve(device: str = "auto") -> torch.device:
    """The device named, or for "auto" a GPU where there is one. ValueError for a device this machine does not have."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        found = ["auto", "cpu"] + ["cuda"] * torch.cuda.is_available()
        raise ValueError(f"device {device!r} is not available here; choose one of {', '.join(found)}") from error
    return resolved


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager:
    """Autocasting of networks to bfloat16, for precision "bf16", or for "auto" where the device has it; "fp32" does
    nothing.

    Likelihoods lift their parameters to float32 themselves, so that no reduction happens in bfloat16.
    """
    if precision not in ("auto", "bf16", "fp32"):
        raise ValueError(f"unknown precision {precision!r}; choose one of auto, bf16, fp32")
    enabled = precision == "bf16" or (precision == "auto" and has_bf16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def hardware(device: torch.device) -> str:
    """A line for records: what computed this."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{torch.cpu.get_capabilities().get('cpu_name', 'CPU')}, {threads} thread{'s' * (threads > 1)}"
