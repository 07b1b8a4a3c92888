"""The benchmarks take too long for the tests, but they must not be left behind by what is renamed."""

import subprocess
import sys

from pixellib.series import paths


def test_the_benchmarks_can_be_collected():
    """Runs are looked up as they are imported."""
    asked = [sys.executable, "-m", "pytest", "benchmarks", "--collect-only", "-q"]
    answer = subprocess.run(asked, capture_output=True, text=True, cwd=paths.ROOT)
    assert answer.returncode == 0, answer.stdout + answer.stderr
