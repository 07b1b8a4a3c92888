"""Three trainings of the sweep, of seconds each."""

import subprocess

NAMES = [f"permuted-mnist-{arm}" for arm in ("softmax-ordered", "mixture-ordered", "mixture-scrambled")]
TARGETS = [f"build/runs/{name}/quick-seed0/{name}.json" for name in NAMES]


def training(name: str) -> list[int]:
    """The processes that train this run now."""
    found = subprocess.run(["pgrep", "-f", f"pixellib train {name}"], capture_output=True, text=True).stdout
    return [int(pid) for pid in found.split()]
