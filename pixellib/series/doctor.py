"""What this machine does for the series: `pixellib doctor`, and the line that `make figures` begins with."""

import os
import re
import statistics
import subprocess
import sys
import time

import torch

from pixellib import devices
from pixellib.series import paths

TESTED_TORCH = ("2.14",)
CPU = torch.device("cpu")

# Minutes of all notebooks of a profile, and of the longest one, on two cores of an AMD EPYC with AVX2 that had nothing
# else to do, and the GFLOP/s of `core_gflops` there. Those of `quick` were measured on one of them: half of the sum,
# and the whole of the longest.
MINUTES = {"reference": (54, 12), "quick": (13, 7)}
CORE_GFLOPS = 88

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


def cores() -> int:
    """How many this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
    return len(affinity(0)) if affinity else os.cpu_count()


def core_gflops(size: int = 1024, rounds: int = 20) -> float:
    """GFLOP/s of float32 matrix products on one core: the best of `rounds`, by the processor time of its thread.

    Other programs that are at work make this little smaller, unlike `matmul_gflops`, which goes by the clock.
    """
    a, b = torch.randn(2, size, size)
    threads, seconds = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for _ in range(rounds):
            started = time.thread_time()
            a @ b
            seconds.append(time.thread_time() - started)
    finally:
        torch.set_num_threads(threads)
    return 2e-9 * size**3 / min(seconds)


def expectation(profile: str, jobs: int, core_speed: float) -> str:
    """How long `make figures` takes on so many cores, each as fast as `core_gflops` says, if it runs every notebook.

    >>> expectation("reference", jobs=2, core_speed=44)
    'all notebooks of the profile reference take roughly 108 min on 2 cores if the machine is otherwise idle'
    """
    if profile not in MINUTES:
        return f"all notebooks of the profile {profile} take days, or a GPU"
    on_two_cores, longest = MINUTES[profile]
    minutes = max(on_two_cores * 2 / jobs, longest) * CORE_GFLOPS / core_speed
    machine = f"on {jobs} core{'s' * (jobs > 1)} if the machine is otherwise idle"
    return f"all notebooks of the profile {profile} take roughly {max(1, round(minutes))} min {machine}"


def summary(profile: str = "reference", jobs: int | None = None) -> str:
    """The machine in a line, and how long the notebooks of a profile take on it; in about a second."""
    expected = expectation(profile, jobs or cores(), core_gflops())
    return "; ".join([devices.hardware(CPU), _speeds_in_words(speeds(rounds=3)), expected])


def report() -> list[str]:
    """A line for each thing worth knowing, warnings among them; takes about ten seconds."""
    core_speed, measured = core_gflops(), speeds()
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
    return lines + [f"make figures: {expectation(profile, cores(), core_speed)}" for profile in MINUTES]


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
