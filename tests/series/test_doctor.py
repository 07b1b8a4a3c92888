"""`pixellib doctor` says what the machine does, and warns of what makes it slow."""

import re

import pytest
import torch
from calling import call

from pixellib import devices
from pixellib.series import build, cli, doctor


def test_the_report_names_processor_speed_kernels_and_torch(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert devices.hardware(doctor.CPU) in lines[0]
    assert re.search(r"\d+ GFLOP/s in fp32", lines[2])
    assert ("GFLOP/s in bf16" in lines[2]) == devices.has_bf16(doctor.CPU)
    precision = "bf16" if devices.has_bf16(doctor.CPU) else "fp32"
    assert any(f"causal convolution in {precision}" in line for line in lines), "in the precision that is used here"
    assert any(f"PyTorch {torch.__version__}" in line for line in lines)


@pytest.mark.parametrize(
    ("kernel", "slow"),
    [
        ("brg_conv_fwd:avx512_core_bf16", False),
        ("jit_bf16:avx512_core_bf16", False),
        ("gemm:jit", False),
        ("ref:any", True),
        ("gemm:ref", True),
    ],
)
def test_a_reference_kernel_is_known_by_its_name(kernel, slow):
    assert doctor.is_reference(kernel) == slow


def test_a_reference_kernel_and_a_missing_onednn_are_said(monkeypatch):
    monkeypatch.setattr(doctor, "speeds", lambda rounds=7: {"fp32": 100})
    monkeypatch.setattr(doctor, "convolution_kernels", lambda precision: {"forward_training": "ref:any"})
    assert any(line.startswith("WARNING") and "reference" in line for line in doctor.report())
    monkeypatch.setattr(doctor, "convolution_kernels", lambda precision: {})
    assert any("not computed by oneDNN" in line for line in doctor.report())


def test_an_unknown_torch_is_said(monkeypatch):
    assert doctor.TESTED_TORCH[0] == ".".join(torch.__version__.split(".")[:2]), "tested is what is tested here"
    monkeypatch.setattr(torch, "__version__", "1.0.0")
    monkeypatch.setattr(doctor, "convolution_kernels", lambda precision: {})
    monkeypatch.setattr(doctor, "speeds", lambda rounds=7: {"fp32": 100})
    assert any("not among the tested versions" in line for line in doctor.report())


@pytest.fixture
def known_speed(monkeypatch):
    """Half the speed of a core of the machine that the minutes were measured on, and two of them."""
    monkeypatch.setattr(doctor, "core_gflops", lambda: doctor.CORE_GFLOPS / 2)
    monkeypatch.setattr(doctor, "cores", lambda: 2)
    monkeypatch.setattr(doctor, "speeds", lambda rounds=7: {"fp32": 50, "bf16": 400})
    monkeypatch.setattr(doctor, "convolution_kernels", lambda precision: {})


def test_both_commands_give_the_same_minutes_of_the_profile_that_is_asked_for(known_speed, monkeypatch, capsys):
    monkeypatch.setattr(build, "build", lambda *_: None)
    reported = doctor.report()
    for profile, minutes in (("reference", 108), ("quick", 26)):
        expected = f"all notebooks of the profile {profile} take roughly {minutes} min on 2 cores if the machine is "
        _, _, said = call(capsys, "figures", "--profile", profile)
        assert expected in said
        assert any(expected in line for line in reported)
    assert "all notebooks of the profile paper take days" in call(capsys, "figures", "--profile", "paper")[2]


def test_more_cores_take_less_time_but_never_less_than_the_longest_notebook():
    minutes = [
        int(re.search(r"(\d+) min", doctor.expectation("reference", jobs, core_speed=doctor.CORE_GFLOPS))[1])
        for jobs in (1, 2, 4, 64)
    ]
    assert minutes == [108, 54, 27, 12]


def test_the_speed_of_a_core_is_by_the_time_that_the_processor_gave_it(monkeypatch):
    """A clock on the wall also runs while other programs are at work."""
    monkeypatch.setattr(doctor.time, "perf_counter", None)
    before = torch.get_num_threads()
    assert doctor.core_gflops(size=64, rounds=2) > 0
    assert torch.get_num_threads() == before
