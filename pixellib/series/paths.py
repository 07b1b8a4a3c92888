"""Where the repository keeps what runs leave behind."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = ROOT / "data" / "checkpoints"  # shipped
RESULTS = ROOT / "figures" / "results"  # shipped
MEASUREMENTS = ("bench.json", "compressed.json", "sampling_times.json")  # in RESULTS: hardware and rows, of no run
WORK = Path(os.environ.get("PIXELLIB_RUNS") or ROOT / "build" / "runs")  # trained on this machine
