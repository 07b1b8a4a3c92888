"""Drills: what goes wrong on real machines, done on purpose. `make drills` runs them and says what was survived."""

import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from pixellib.series import paths

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "library"), str(TESTS / "series")]  # drills use the same helpers


@pytest.fixture
def survived(record_property):
    """survived(fault, number) notes that so many faults of a kind were tried and did no harm."""

    def survived(fault: str, number: int = 1) -> None:
        record_property("survived", (fault, number))

    return survived


@pytest.fixture
def clone(tmp_path):
    """What a training needs of this repository, in a folder of its own."""
    root = tmp_path / "clone"
    for folder in ("pixellib", "notebooks", "profiles", "data/mnist", "data/austen", "figures/results"):
        shutil.copytree(paths.ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(paths.ROOT / "Snakefile", root)
    return root


def pytest_terminal_summary(terminalreporter):
    faults = Counter()
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "survived":
                faults[value[0]] += value[1]
    if faults:
        terminalreporter.section("faults tried and survived")
        for fault, number in sorted(faults.items()):
            terminalreporter.write_line(f"{number:>6} {fault}")
        terminalreporter.write_line(f"{sum(faults.values()):>6} in all")
