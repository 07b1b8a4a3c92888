"""`pixellib doctor` says what the machine does, and warns of what makes it slow."""

import json
import re

import pytest
import torch

from pixellib import devices
from pixellib.series import cli, doctor


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


def test_minutes_are_those_of_the_recorded_build_at_this_machines_speed(tmp_path, monkeypatch):
    """A machine of half the speed takes twice the time."""
    monkeypatch.setattr(doctor, "COST", tmp_path / "cost.json")
    assert doctor.expected_minutes({"fp32": 100}) is None
    doctor.COST.write_text(json.dumps({"seconds": 120, "matmul_gflops": {"fp32": 100, "bf16": 200}}))
    assert doctor.expected_minutes({"fp32": 100}) == pytest.approx(4)
    monkeypatch.setattr(doctor, "speeds", lambda rounds=7: {"fp32": 50, "bf16": 400})
    assert "take roughly 1 min" in doctor.summary()


def test_what_a_build_took_is_kept_with_the_machine_it_ran_on(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "COST_HERE", tmp_path / "cost.json")
    doctor.record_cost(61.4, jobs=2)
    kept = json.loads(doctor.COST_HERE.read_text())
    assert kept["seconds"] == 61 and kept["jobs"] == 2 and kept["hardware"] == devices.hardware(doctor.CPU)
    assert kept["matmul_gflops"]["fp32"] > 0
