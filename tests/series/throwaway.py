"""A throw-away project for tests of execution: the real machinery, tiny notebooks, no torch to wait for."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from pixellib.series import build, execute, paths, publish, runs

ROOT = Path(__file__).resolve().parents[2]
MACHINERY = (
    "__init__", "__main__", "files", "data/cache", "series/__init__", "series/build", "series/check", "series/cli",
    "series/execute", "series/front_page", "series/notebook_inputs", "series/paths", "series/publish", "series/tables",
    "series/permuted/__init__", "series/permuted/sweep", "series/provenance",
)  # fmt: skip
SILENT_DOCTOR = """
import os


def summary(profile, jobs):
    return f"a machine for {profile}"


def cores():
    return os.cpu_count()
"""
SMALL = {
    "data/__init__": "",
    "devices": "def resolve(device):\n    return device\n",
    "checkpoints": "",
    "series/doctor": SILENT_DOCTOR,
    "series/site/reference": "def reference():\n    return '<p>No library.</p>'\n",  # which the project does not have
    "series/runs": 'PROFILES = ("quick", "reference", "paper")\n\n\ndef names():\n    return []\n',
}
PARAMETERS = 'profile = "reference"\nseed = 0\ndevice = "auto"\nfigures_dir = "../figures"\nretrain = False'
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
FIGURE = """
import base64, pathlib
dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
pathlib.Path(figures_dir, "{name}_dot.png").write_bytes(base64.b64decode(dot))
alt = 'One "dot" & no more'
data = {{"image/png": dot, "text/plain": f"<figure {name}_dot: {{alt}}>"}}
display(data, metadata={{"image/png": {{"alt": alt}}}}, raw=True)
"""


def project(path: Path, **cells: list[str]) -> Path:
    """A project with one notebook per keyword, of a title, a parameters cell, and the given code cells."""
    for folder in ("pixellib/data", "pixellib/series/permuted", "notebooks", "figures/results", "data"):
        (path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "Snakefile", path)
    shutil.copytree(ROOT / "profiles", path / "profiles")
    site = Path("pixellib/series/site")
    shutil.copytree(ROOT / site, path / site, ignore=shutil.ignore_patterns("__pycache__"))
    for module in MACHINERY:
        shutil.copy(ROOT / "pixellib" / f"{module}.py", path / "pixellib" / f"{module}.py")
    for module, source in SMALL.items():
        (path / "pixellib" / f"{module}.py").write_text(source)
    for text in ("README.md", "notebooks/10_plan.md", "figures/results/README.md", "data/README.md"):
        (path / text).write_text("# A text\n\nNo table of results here.\n")
    for name, sources in cells.items():
        add_notebook(path, name, sources)
    return path


def use(monkeypatch, path: Path) -> Path:
    """Let this process take the project for its own, without any run; for tests that need no process of their own."""
    monkeypatch.setattr(paths, "ROOT", path)
    monkeypatch.setattr(paths, "RESULTS", path / "figures" / "results")
    monkeypatch.setattr(paths, "CHECKPOINTS", path / "data" / "checkpoints")
    monkeypatch.setattr(runs, "names", lambda: [])
    return path


def publish_one(root: Path, name: str = "01_a") -> bytes:
    """What `make publish` does to one notebook of the project in use, without the graph."""
    merged = publish.with_outputs(name, execute.read(execute.execute(name)))
    build.promote()
    execute.write(merged, root / "notebooks" / f"{name}.ipynb")
    return (root / "notebooks" / f"{name}.ipynb").read_bytes()


def add_notebook(path: Path, name: str, sources: list[str], parameters: str = PARAMETERS) -> Path:
    """Write (or write anew) a notebook of a project; `{name}` in FIGURE becomes its name."""
    file = path / "notebooks" / f"{name}.ipynb"
    title = new_markdown_cell(f"# About {name}\n\nHow tight is *this*? See [the other](02_b.ipynb).", id="title")
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]}, id="parameters")
    sources = [source.format(name=name) if source == FIGURE else source for source in sources]
    rest = [new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
    nbformat.write(new_notebook(cells=[title, first, *rest], metadata={"kernelspec": KERNEL}), file)
    return file


def command(path: Path, *arguments: str) -> dict:
    """Arguments of subprocess that call `pixellib` in a project, with that project's pixellib and no home."""
    environment = os.environ | {"PYTHONPATH": str(path), "HOME": str(path / "no-such-home")}
    line = [sys.executable, "-m", "pixellib", *arguments]
    return {"args": line, "cwd": path, "env": environment, "text": True}


def pixellib(path: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Call `pixellib` in a project and wait; `.stdout` holds all it printed."""
    options = command(path, *arguments)
    return subprocess.run(**options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1200, check=False)


def descendants(pid):
    """A process and all that it started, from the system's table."""
    lines = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children = {}
    for line in lines.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found = [pid]
    for process in found:
        found += children.get(process, [])
    return found


def kill(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for(condition, what, seconds=600):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
