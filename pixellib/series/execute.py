"""Run a notebook from top to bottom, and accept the result only if every cell ran.

Papermill executes the cells; this module adds what a chain of jobs relies on. Names and types of parameters
are checked before anything starts (papermill only warns). The kernel is always the Python that runs this
program. Success is read from the cells, because papermill marks every one "completed" even when the kernel is
killed. The output appears under its own name only when it is whole.
"""

import ast
import base64
import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
import papermill
from filelock import FileLock, Timeout
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from pixellib import devices, files
from pixellib.data.cache import cache_dir
from pixellib.series import notebook_inputs, paths
from pixellib.series.paths import shorten
from pixellib.series.runs import PROFILES

INJECTED = "injected-parameters"  # papermill's tag for the cell it adds
WIDGET = "application/vnd.jupyter.widget-view+json"
MAX_SEED = 2**32 - 1
NO_CHANGE = ("profile", "figures_dir")  # parameters that a build gives
TOLD = "reference"  # the profile whose results the text of a notebook describes


def names() -> list[str]:
    """The notebooks of the series in reading order: the stems of `notebooks/NN_*.ipynb`."""
    return sorted(file.stem for file in (paths.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def source(name: str) -> Path:
    """Path of a notebook's source. ValueError, with the valid names, when there is no such notebook."""
    if name not in names():
        raise ValueError(f"unknown notebook {name!r}; choose from: {', '.join(names()) or 'none yet'}")
    return paths.ROOT / "notebooks" / f"{name}.ipynb"


def read(path: Path) -> NotebookNode:
    """The notebook in a file. RuntimeError, naming the file, when it is none."""
    try:
        return nbformat.read(path, as_version=4)
    except (
        nbformat.reader.NotJSONError,
        nbformat.ValidationError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
    ) as error:
        raise RuntimeError(f"{shorten(path)} is no notebook: {type(error).__name__}") from error


def write(notebook: NotebookNode, path: Path) -> bool:
    """Write a notebook atomically; False, and no touch, when the file holds it already."""
    return files.replace(path, (nbformat.writes(notebook).rstrip("\n") + "\n").encode())


@contextlib.contextmanager
def lock(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file, waiting for its owner after printing `busy`; the system frees it when its owner dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path)
    try:
        held.acquire(timeout=0)
    except Timeout:
        print(busy, file=sys.stderr, flush=True)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells a kernel executes: code that is not blank."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def figures(notebook: NotebookNode) -> dict[str, bytes]:
    """The figures in the outputs of a notebook: PNG files by the name under which `figures.save_figure` saved them."""
    found = {}
    for data in (output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs):
        name = re.match(r"<figure ([\w-]+): ", data.get("text/plain", ""))
        if name and "image/png" in data:
            found[name[1]] = base64.b64decode(data["image/png"])
    return found


def parameters(name: str) -> dict[str, object]:
    """Names and defaults of a notebook's parameters: the literals assigned in its one cell tagged `parameters`.

    ValueError when there is no such cell, or several, or when a default is no literal.
    """
    path = source(name)
    notebook = read(path)
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1 or tagged[0].cell_type != "code":
        raise ValueError(f"notebook {name} needs exactly one code cell tagged 'parameters', found {len(tagged)}")
    if "name" not in notebook.metadata.get("kernelspec", {}):
        raise ValueError(f"notebook {name} names no kernel in its metadata")
    defaults = {}
    for key, parameter in papermill.inspect_notebook(_literal_path(path)).items():
        try:
            defaults[key] = ast.literal_eval(parameter["default"])
        except (SyntaxError, ValueError):
            raise ValueError(f"notebook {name}: the default of its parameter {key!r} is no literal") from None
    return defaults


def _literal_path(path: Path) -> str:
    """A path for papermill, which would take braces in it for parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def parse(name: str, defaults: dict[str, object], settings: Sequence[str]) -> dict[str, object]:
    """Values from `key=value` texts, each of the type of the parameter's default.

    ValueError for what is no `key=value`, an unknown parameter or one given twice, a value of another type, an
    unknown profile, a seed that is too large, or a device that this machine does not have.
    """
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"parameter {setting!r} must be given as key=value")
        files.check_path(text)  # notebooks hold only valid UTF-8
        if key not in defaults:
            raise ValueError(f"notebook {name} has no parameter {key!r}; choose from: {', '.join(defaults)}")
        if key in values:
            raise ValueError(f"parameter {key!r} of notebook {name} was given twice")
        values[key] = _value(name, key, text, defaults[key])
    check_profile(values.get("profile", PROFILES[0]))
    if not 0 <= values.get("seed", 0) <= MAX_SEED:
        raise ValueError(f"parameter 'seed' of notebook {name} must be from 0 to {MAX_SEED:,}")
    devices.resolve(values.get("device", "auto"))
    return values


def check_profile(profile: str) -> None:
    """ValueError, with the valid ones, for an unknown profile."""
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; choose from: {', '.join(PROFILES)}")


def _value(name: str, key: str, text: str, default: object) -> object:
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # what absurd literals raise
        value = text
    kind = type(default)
    if kind is float and type(value) is int:
        value = float(value)
    if default is not None and type(value) is not kind:
        example = "True or False" if kind is bool else f"{kind.__name__}, for example {default!r}"
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise ValueError(f"parameter {key!r} of notebook {name} must be {example}; got {shown!r}")
    return value


def execute(name: str, settings: Sequence[str] = (), output: Path | None = None) -> Path:
    """Run a notebook with parameters given as `key=value` and return the path of the executed one.

    `output` defaults to `build/PROFILE/notebooks/NAME.ipynb`, the parameter `figures_dir` to
    `build/PROFILE/figures/NAME`; relative paths start at the caller's folder. While it runs, and after a
    failure, the cells so far stand in `NAME.partial.ipynb` beside the output. Its metadata say which sources it was
    made from, and with which parameters (see `is_of_today`). Raises ValueError for a wrong name or value and
    RuntimeError, naming the cell, when the notebook fails.
    """
    path = source(name)
    notebook, defaults = read(path), parameters(name)
    values = parse(name, defaults, settings)
    if "profile" in defaults:
        values.setdefault("profile", defaults["profile"])
    build = paths.ROOT / "build" / str(values.get("profile", "reference"))
    output = (output or build / "notebooks" / path.name).absolute()
    if output.resolve().is_relative_to(path.parent):
        raise ValueError(f"{shorten(output)} lies among the source notebooks; choose an output elsewhere")
    if (kind := files.kind_of_file(files.check_path(output))) not in ("file", "missing"):
        raise ValueError(f"the output {shorten(output)} is a {kind}, not a file")
    if "figures_dir" in defaults:
        folder = Path(values.get("figures_dir", build / "figures" / name)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        values["figures_dir"] = str(folder)

    other = {key: value for key, value in values.items() if key not in NO_CHANGE and value != defaults[key]}
    partial = output.with_suffix(".partial.ipynb")
    busy = f"{name}: another process is running this notebook; waiting for it to end"
    with lock(output.with_name(f".{output.stem}.lock"), busy):
        start, digest = time.monotonic(), notebook_inputs.digest(notebook.cells)
        executed = _run(name, path, partial, values, len(notebook.cells))
        executed.metadata.pop("widgets", None)
        executed.metadata["pixellib"] = {"hash": digest, "parameters": other}
        if (profile := values.get("profile", TOLD)) != TOLD:
            note = f"> This is a run in the profile `{profile}`. The text describes what the profile `{TOLD}` shows."
            executed.cells.insert(1, nbformat.v4.new_markdown_cell(note, id="profile"))
        for cell in code_cells(executed):  # a widget is dead without its state, which is never kept
            cell.outputs = [item for item in cell.outputs if WIDGET not in item.get("data", {})]
        write(executed, output)
        partial.unlink(missing_ok=True)
    done = sum(output.with_name(f"{other}.ipynb").exists() for other in names())
    _say(f"{name}: done in {time.monotonic() - start:.0f} s -> {shorten(output)} ({done} of {len(names())} are there)")
    return output


def is_of_today(name: str, executed: NotebookNode) -> bool:
    """Whether an executed notebook was made from today's sources, with the parameters that it has by default."""
    made = executed.metadata.get("pixellib", {})
    return made == {"hash": notebook_inputs.digest(read(source(name)).cells), "parameters": {}}


def _say(line: str) -> None:
    """Print a line in one piece; `print` may write its end separately, and notebooks at work share a terminal."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class _Progress:
    """Prints a line as each code cell starts, and knows where the notebook is when it fails."""

    def __init__(self, name: str, total: int):
        self.name, self.total, self.number, self.shift = name, total, 0, 0
        self.start = time.monotonic()

    def __call__(self, cell: NotebookNode, cell_index: int) -> None:
        if INJECTED in cell.metadata.get("tags", []):
            self.shift = 1  # cells are counted as the author sees them
            return
        self.number = cell_index + 1 - self.shift
        if cell.cell_type == "code":
            seconds = time.monotonic() - self.start
            _say(f"{self.name}: cell {self.number}/{self.total}, {seconds:.0f} s")


class _Kernel(AsyncKernelManager):
    """The Python that runs this program, whatever kernels, start-up files and matplotlibrc a user has."""

    transport_encryption = "auto"  # other users of a cluster's node can reach its ports

    @property
    def kernel_spec(self) -> KernelSpec:
        cache = paths.ROOT / "build" / "cache"
        path = [str(paths.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            "PYTHONPATH": os.pathsep.join(path),  # the pixellib of this checkout, wherever it was installed from
            "PYTHONHASHSEED": "0",
            "PIXELLIB_RUNS": str(paths.WORK),  # absolute, because a kernel works in another folder
            "PIXELLIB_DATA": str(cache_dir()),
            "IPYTHONDIR": str(cache / "ipython"),
            "MPLCONFIGDIR": str(cache / "matplotlib"),
        }
        return KernelSpec(**get_kernel_dict(), env=environment)


def _run(name: str, path: Path, partial: Path, values: dict, num_cells: int) -> NotebookNode:
    """Papermill, with its failures turned into one line, and one more try when the kernel did not come up."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    for directory in ("ipython", "matplotlib"):
        (paths.ROOT / "build" / "cache" / directory).mkdir(parents=True, exist_ok=True)
    for attempt in (1, 2):
        progress = _Progress(name, num_cells)
        try:
            executed = papermill.execute_notebook(
                *map(_literal_path, (path, partial)),
                parameters=values,
                kernel_name="python3",
                language="python",
                cwd=path.parent,
                progress_bar=False,
                start_timeout=300,
                kernel_manager_class=_Kernel,
                on_cell_start=progress,
                iopub_timeout=120,  # 4 seconds are too short on a busy machine
                coalesce_streams=True,  # of a progress bar the last state stays
                record_timing=False,
            )
            _check_executed(executed)
            return executed
        except PapermillExecutionError as error:
            print(error, file=sys.stderr)
            reason = f"{error.ename}: {error.evalue}"
        except (DeadKernelError, CellTimeoutError, RuntimeError) as error:
            if progress.number == 0 and attempt == 1:  # most likely another kernel was quicker to a port
                _say(f"{name}: the kernel did not start ({error}); trying once more")
                continue
            died = isinstance(error, DeadKernelError)
            reason = "the kernel died; was it killed for lack of memory?" if died else str(error)
        where = f"in cell {progress.number}/{num_cells}" if progress.number else "before its first cell"
        raise RuntimeError(f"notebook {name} failed {where}: {reason} (so far: {shorten(partial)})")


def _check_executed(notebook: NotebookNode) -> None:
    """RuntimeError unless every code cell was executed, in order, without an error."""
    last = 0
    for cell in code_cells(notebook):
        count = cell.execution_count or 0
        failed = any(output.output_type == "error" for output in cell.outputs)
        if failed or cell.metadata.papermill.get("exception") or count <= last:
            first = cell.source.strip().splitlines()[0]
            raise RuntimeError(f"the cell that starts with `{first}` was not executed to its end")
        last = count
