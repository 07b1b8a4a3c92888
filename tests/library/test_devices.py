"""Devices and precisions that this machine lacks are refused by name or done without, never stumbled over."""

import pytest
import torch

from pixellib import devices

CPU = torch.device("cpu")


def test_auto_takes_a_gpu_only_where_there_is_one(monkeypatch):
    for there, expected in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert devices.resolve() == devices.resolve("auto") == torch.device(expected)
    assert devices.resolve("cpu") == CPU


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", "gpu", "", "meta"])
def test_a_device_that_is_not_here_is_refused_with_the_choices(device):
    """Nor one that has shapes only, and computes nothing."""
    if device.startswith("cuda") and torch.cuda.device_count() > (device == "cuda:1"):
        device = f"cuda:{torch.cuda.device_count()}"
    if device == "mps" and torch.backends.mps.is_available():
        device = "mps:99"
    with pytest.raises(ValueError, match=rf"device '{device}' is not available here; choose one of auto, cpu") as error:
        devices.resolve(device)
    assert "\n" not in str(error.value)


def product(precision):
    """The dtype of a matrix product under a precision."""
    with devices.autocast(CPU, precision):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize("capability", ["avx512_bf16", "amx_bf16", "bf16"])
def test_bfloat16_is_used_where_the_processor_has_it(monkeypatch, capability):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True})
    assert devices.has_bf16(CPU)
    assert [product(p) for p in ("auto", "bf16", "fp32")] == [torch.bfloat16, torch.bfloat16, torch.float32]


def test_without_bfloat16_auto_falls_back_to_float32_unasked(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "avx2": True})
    assert not devices.has_bf16(CPU)
    assert [product(p) for p in ("auto", "bf16", "fp32")] == [torch.float32, torch.bfloat16, torch.float32]


def test_the_processors_abilities_say_nothing_of_another_device(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert not devices.has_bf16(torch.device("mps"))


def test_an_unknown_precision_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="unknown precision 'fp16'; choose one of auto, bf16, fp32"):
        devices.autocast(CPU, "fp16")


def test_the_hardware_is_named_in_one_line():
    line = devices.hardware(CPU)
    threads = torch.get_num_threads()
    assert line.endswith(f", {threads} thread" + "s" * (threads > 1)) and "\n" not in line
