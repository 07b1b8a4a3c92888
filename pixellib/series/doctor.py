"""What this machine does for the series: `pixellib doctor`, and the line that `make figures` begins with."""

import os
import re
import statistics
import subprocess
import sys
import time

import torch

from pixellib import devices, files
from pixellib.series import paths

TESTED_TORCH = ("2.14",)
COST = paths.RESULTS / "make_figures.json"  # how long a complete build took, and on what
COST_HERE = paths.ROOT / "build" / "make_figures.json"  # the same of this machine, for `make publish` to ship
CPU = torch.device("cpu")

# The convolution of PixelCNN++ on MNIST that takes the most time, forwards and backwards.
_CONVOLUTION = """
import sys
import torch
from pixellib.models.autoregressive.layers import CausalConv2d
layer, x = CausalConv2d(64, 32, above=1, left=1), torch.randn(16, 64, 28, 28, requires_grad=True)
bf16 = torch.autocast("cpu", torch.bfloat16, enabled=sys.argv[1] == "bf16")
with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON), bf16:
    layer(x).sum().backward()
"""
_KERNEL = re.compile(r"^onednn_verbose,.*,exec,cpu,convolution,([^,]+),(\w+)", flags=re.MULTILINE)


def matmul_gflops(dtype: torch.dtype, size: int = 2048, rounds: int = 7) -> float:
    """GFLOP/s of square matrix products on the CPU: what a network on this machine could reach at best.

    The median of `rounds` products, after two that are not counted.
    """
    a, b = torch.randn(2, size, size).to(dtype)
    seconds = []
    for _ in range(rounds + 2):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2e-9 * size**3 / statistics.median(seconds[2:])


def speeds(rounds: int = 7) -> dict[str, int]:
    """`matmul_gflops` by precision: "fp32", and "bf16" where the processor multiplies bfloat16."""
    measured = {"fp32": matmul_gflops(torch.float32, rounds=rounds)}
    if devices.has_bf16(CPU):
        measured["bf16"] = matmul_gflops(torch.bfloat16, rounds=rounds)
    return {precision: round(speed) for precision, speed in measured.items()}


def convolution_kernels(precision: str) -> dict[str, str]:
    """The kernel that oneDNN chose for each pass of a causal convolution in "fp32" or "bf16", such as
    {"forward_training": "brg_conv_fwd:avx512_core_bf16"}; empty where PyTorch does not use oneDNN. Asks a process of
    its own, which prints.
    """
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", _CONVOLUTION, precision], capture_output=True, text=True, env=environment, check=False
    )
    return {kind: kernel for kernel, kind in _KERNEL.findall(answer.stdout)}


def is_reference(kernel: str) -> bool:
    """Whether oneDNN has nothing quick for this case and computes it with plain loops.

    >>> is_reference("ref:any"), is_reference("brg_conv_fwd:avx512_core_bf16")
    (True, False)
    """
    return re.search(r"(^|[:_])ref($|[:_])", kernel) is not None


def expected_minutes(measured: dict[str, int]) -> float | None:
    """Of `make figures` in the reference profile, from nothing, at the speeds measured here: scaled from the build that
    the record COST is of. None without that record.
    """
    if not COST.exists():
        return None
    cost = files.read_json(COST, keys=("seconds", "matmul_gflops"))
    return cost["seconds"] / 60 * max(cost["matmul_gflops"].values()) / max(measured.values())


def record_cost(seconds: float, jobs: int) -> None:
    """Keep how long a reference build took in which every notebook was run."""
    cost = {"seconds": round(seconds), "jobs": jobs, "hardware": devices.hardware(CPU), "matmul_gflops": speeds()}
    files.write_json(COST_HERE, cost)


def summary() -> str:
    """The machine in a line, in about a second."""
    measured = speeds(rounds=3)
    parts = [devices.hardware(CPU), _speeds_in_words(measured)]
    if (minutes := expected_minutes(measured)) is not None:
        parts.append(f"all notebooks of the reference profile take roughly {max(1, round(minutes))} min")
    return "; ".join(parts)


def report() -> list[str]:
    """A line for each thing worth knowing, warnings among them; takes about ten seconds."""
    measured = speeds()
    precision = "bf16" if "bf16" in measured else "fp32"  # what trainings use here
    lines = [
        f"processor: {devices.hardware(CPU)} of {os.cpu_count()}",
        "bfloat16: " + ("multiplied in hardware" if "bf16" in measured else "not in hardware; float32 is used"),
        f"matrix products of 2048 x 2048: {_speeds_in_words(measured)}",
        *_about_kernels(precision, convolution_kernels(precision)),
        _about_torch(torch.__version__),
    ]
    if torch.cuda.is_available():
        lines.append(f"GPU: {torch.cuda.get_device_name()}; GPU code paths of the series are untested")
    if (minutes := expected_minutes(measured)) is not None:
        lines.append(f"make figures: roughly {max(1, round(minutes))} min if every notebook is to be run")
    return lines


def _speeds_in_words(measured: dict[str, int]) -> str:
    return ", ".join(f"{speed} GFLOP/s in {precision}" for precision, speed in measured.items())


def _about_kernels(precision: str, kernels: dict[str, str]) -> list[str]:
    if not kernels:
        return [f"causal convolution in {precision}: not computed by oneDNN; expect it to be slow"]
    lines = [f"causal convolution in {precision}, {kind}: {kernel}" for kind, kernel in sorted(kernels.items())]
    if any(is_reference(kernel) for kernel in kernels.values()):
        advice = "; use precision fp32" if precision == "bf16" else ""
        lines.append(f"WARNING: oneDNN falls back to a reference kernel, many times slower{advice}")
    return lines


def _about_torch(version: str) -> str:
    tested = ", ".join(TESTED_TORCH)
    known = ".".join(version.split(".")[:2]) in TESTED_TORCH
    return f"PyTorch {version}: " + ("tested" if known else f"not among the tested versions ({tested})")
