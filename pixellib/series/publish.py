"""Committed notebooks carry their outputs, and a hash that says which sources these outputs came from."""

import hashlib
import json
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from pixellib.series import build, execute, paths, runs
from pixellib.series.execute import INJECTED, ROOT
from pixellib.series.permuted import sweep

BENCHMARK = "build/bench/bench.json"  # written by `make bench`
README = ROOT / "README.md"
PARAMETERS = ("profile", "seed", "device", "figures_dir", "retrain")
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def digest(notebook: NotebookNode) -> str:
    """SHA-256 of all that a notebook's outputs depend on.

    That is its cells (kind, tags, source), every ``pixellib/**/*.py``, and every ``figures/results/RUN.json``,
    of any seed, whose run the notebook names in full, and the benchmark's and the sweep's where it asks for them. A
    name put together from parts escapes this: notebooks don't do it.
    """
    cells = [[cell.cell_type, cell.metadata.get("tags", []), cell.source] for cell in notebook.cells]
    text = "\n".join(cell.source for cell in notebook.cells)
    records = (ROOT / "figures" / "results").glob("*.json")
    runs_of = {file: re.sub(r"-seed\d+$", "", file.stem) for file in records}
    named = [file for file, run in runs_of.items() if re.search(rf"(?<![\w-]){re.escape(run)}(?![\w-])", text)]
    tables = {"runs.benchmark(": "bench.json", "sweep.table(": "permuted.csv"}
    others = [ROOT / "figures" / "results" / file for call, file in tables.items() if call in text]
    named += [file for file in others if file.exists()]
    total = hashlib.sha256(json.dumps(cells).encode())
    for file in sorted((ROOT / "pixellib").rglob("*.py")) + sorted(named):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"\n{file.relative_to(ROOT).as_posix()} {content}".encode())
    return total.hexdigest()


def check() -> None:
    """RuntimeError, naming each notebook and its fault, unless all outputs belong to today's sources."""
    faults = [f"{name} {fault}" for name in execute.names() if (fault := _fault(name))]
    if README.read_text(encoding="utf-8") != with_results(README.read_text(encoding="utf-8")):
        faults.append("README.md has a table of results that is not that of the records")
    if faults:
        raise RuntimeError(f"{'; '.join(faults)}: run `make publish`")


def _fault(name: str) -> str | None:
    notebook = execute.read(execute.source(name))
    missing = [key for key in PARAMETERS if key not in execute.parameters(notebook, name)]
    if missing:
        return f"lacks the parameters {', '.join(missing)}"
    if any(INJECTED in cell.metadata.get("tags", []) for cell in notebook.cells):
        return "holds a cell of parameters injected by papermill"
    cells = execute.code_cells(notebook)
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        return "does not carry the outputs of a run from top to bottom"
    if notebook != _with_results(name):
        return "states a result that is not that of the records"
    if notebook.metadata.get("pixellib", {}).get("hash") != digest(notebook):
        return "has outputs older than its source, pixellib or the records it reads"
    return None


def publish(jobs: int | None = None) -> list[str]:
    """Ship the runs trained here, build the reference profile, and put its outputs into the source notebooks.

    Returns the names of the notebooks that changed. Raises RuntimeError, with no notebook written, when one
    fails or when sources change while they run.
    """
    ship_runs()
    state_results()
    before = {name: digest(execute.read(execute.source(name))) for name in execute.names()}
    build.build("reference", jobs)
    merged = {name: with_outputs(name, execute.read(_executed(name))) for name in before}
    if {name: notebook.metadata.pixellib.hash for name, notebook in merged.items()} != before:
        raise RuntimeError("sources changed while the notebooks ran; nothing was published, run it again")
    files = {name: (execute.source(name), nbformat.writes(notebook)) for name, notebook in merged.items()}
    changed = [name for name, (file, text) in files.items() if execute.replace(file, f"{text}\n".encode())]
    if changed:  # the build is as new as the notebooks it was just copied into
        build.build("reference", jobs, ["--touch"])
    print(f"published: {', '.join(changed) or 'nothing new'}", file=sys.stderr)
    return changed


def ship_runs() -> None:
    """Copy checkpoints and records of finished, evaluated reference runs, and the benchmark's, to where they belong.

    The records of notebook 10, which are many, become one long table; trainings that it has and this machine has not
    stay in it.
    """
    if (ROOT / BENCHMARK).exists():
        execute.replace(paths.RESULTS / "bench.json", (ROOT / BENCHMARK).read_bytes())
    trainings = [(name, seed) for name in runs.names() for seed in range(runs.get(name).seeds)]
    trained = {training: record for training in trainings if (record := _trained(*training))}
    for name, seed in trained:
        _ship(name, seed)
    if records := [trained[training] for training in sweep.trainings() if training in trained]:
        shipped = sweep.path().read_text(encoding="utf-8") if sweep.path().exists() else ""
        execute.replace(sweep.path(), sweep.as_csv(records, shipped).encode())


def _ship(name: str, seed: int) -> None:
    run, checkpoint = runs.get(name), f"{name}.safetensors"
    folder = run.folder("reference", seed)
    if run.ships and seed == 0:
        execute.replace(paths.CHECKPOINTS / checkpoint, (folder / checkpoint).read_bytes())
    if not run.symbols:
        execute.replace(runs.record_path(name, seed), (folder / f"{name}.json").read_bytes())


def _trained(name: str, seed: int) -> dict | None:
    """The record of a training that was finished here and evaluated."""
    path = runs.get(name).folder("reference", seed) / f"{name}.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return record if record.get("results") else None


def state_results() -> None:
    """Write what the records say into the README and the texts of the notebooks."""
    execute.replace(README, with_results(README.read_text(encoding="utf-8")).encode())
    for name in execute.names():
        execute.replace(execute.source(name), f"{nbformat.writes(_with_results(name))}\n".encode())


def with_results(text: str) -> str:
    """A text of which what stands between comments as `<!-- results: ... -->` and `<!-- /results -->` is made from the
    records: results, speed, and the verdict of notebook 10.
    """
    for name, told in {"results": _results, "speed": _speed, "verdict": sweep.verdict}.items():
        place = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- /{name} -->)", flags=re.DOTALL)
        if place.search(text):
            text = place.sub(rf"\g<1>\n{told()}\n\n\g<2>", text)
    return text


def _with_results(name: str) -> NotebookNode:
    notebook = execute.read(execute.source(name))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_results(cell.source)
    return notebook


def _results() -> str:
    from pixellib.series.figures import results_markdown  # matplotlib takes a second, and only this needs it

    records = [runs.record(name) for name in runs.names() if runs.record_path(name).exists()]
    records = [record for record in records if _comparable(record["results"][-1])]
    return results_markdown(records, {name: run.anchor for name in runs.names() if (run := runs.get(name)).anchor})


def _comparable(result: dict) -> bool:
    return result["split"] == "test" and result["num_samples"] != 1  # a bound of one sample says little


def _speed() -> str:
    from pixellib.series.figures import speed_markdown

    return speed_markdown(runs.benchmark()) if (paths.RESULTS / "bench.json").exists() else ""


def _executed(name: str) -> Path:
    return ROOT / "build" / "reference" / "notebooks" / f"{name}.ipynb"


def with_outputs(name: str, executed: NotebookNode) -> NotebookNode:
    """The source notebook with the outputs of an execution and nothing else of it.

    So no injected cell, no papermill metadata, no time stamps; cells are numbered anew and paths in the
    checkout made relative. RuntimeError when the execution is of another source, or when an output shows a path
    elsewhere on this machine.
    """
    notebook = execute.read(execute.source(name))
    cells = [cell for cell in executed.cells if INJECTED not in cell.metadata.get("tags", [])]
    if [cell.source for cell in cells] != [cell.source for cell in notebook.cells]:
        raise RuntimeError(f"the executed {name} is not of today's source; run `make figures` first")
    count = 0
    for cell, run in zip(notebook.cells, cells, strict=True):
        if cell.cell_type != "code":
            continue
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        cell.outputs = [_scrub(name, output, count) for output in run.outputs]
        for key in ("execution", "papermill"):
            cell.metadata.pop(key, None)
    notebook.metadata = nbformat.from_dict(METADATA | {"pixellib": {"hash": digest(notebook)}})
    return notebook


def _scrub(name: str, output: NotebookNode, count: int) -> NotebookNode:
    text = json.dumps(output).replace(json.dumps(f"{ROOT}/")[1:-1], "")
    if f"{Path.home()}/" in text or str(ROOT) in text:
        raise RuntimeError(f"notebook {name}: output [{count}] shows a path of this machine; print relative paths")
    output = nbformat.from_dict(json.loads(text))
    if "execution_count" in output:
        output.execution_count = count
    return output
