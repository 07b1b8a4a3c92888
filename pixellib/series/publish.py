"""Put what was built here into the repository: outputs into notebooks, checkpoints and records to where they ship.

A published notebook carries its outputs and a hash that says which sources these outputs came from.
"""

import json
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from pixellib import checkpoints, files
from pixellib.series import build, execute, front_page, paths, runs
from pixellib.series.execute import INJECTED
from pixellib.series.permuted import sweep
from pixellib.series.provenance import differences

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def publish(jobs: int | None = None) -> list[str]:
    """Ship the runs trained here, build the reference profile, and put its outputs into the source notebooks.

    Returns the names of the notebooks that changed. Raises RuntimeError, with no outputs written to any notebook, when
    one fails or when sources change while they run.
    """
    ship_runs()
    state_results()
    build.build("reference", jobs)
    merged = {name: with_outputs(name, execute.read(build.executed(name))) for name in execute.names()}
    changed = [name for name, notebook in merged.items() if execute.write(notebook, execute.source(name))]
    if changed:
        build.mark_up_to_date(jobs)
    print(f"published: {', '.join(changed) or 'nothing new'}", file=sys.stderr)
    return changed


def ship_runs() -> None:
    """Copy checkpoints and records of finished reference trainings, and those of measurements, to where they ship.

    A training without results was asked for by somebody who did not evaluate it, and is left where it is. RuntimeError
    for a training of another identity than its run has today, and for a checkpoint whose header is not the record
    beside it: one of the two is left over from another training.
    """
    for name in paths.MEASUREMENTS:
        record = paths.ROOT / "build" / ("bench" if name == "bench.json" else "") / name
        if record.exists():
            files.replace(paths.RESULTS / record.name, record.read_bytes())
    for name in runs.names():
        for seed in range(runs.get(name).seeds):
            _ship(name, seed)


def _ship(name: str, seed: int) -> None:
    run = runs.get(name)
    checkpoint = run.trained_path("reference", seed)
    record = checkpoint.with_suffix(".json")
    if not record.exists() or not (content := files.read_json(record)).get("results"):
        return
    if other := differences(content["identity"], run.identity("reference", seed)):
        raise RuntimeError(f"{record} is of another training than run {name} is today: its {'; its '.join(other[:3])}")
    if run.ships and seed == 0:
        if differing := disagreement(checkpoint, record):
            raise RuntimeError(f"{checkpoint} and the record beside it disagree about {', '.join(differing)}")
        files.replace(paths.CHECKPOINTS / checkpoint.name, checkpoint.read_bytes())
    files.replace(runs.record_path(name, seed), record.read_bytes())


def disagreement(checkpoint: Path, record: Path) -> list[str]:
    """What the header of a checkpoint and a record state differently: of name, identity, results and the like."""
    header, stated = checkpoints.read_header(checkpoint), files.read_json(record, keys=("name", "results"))
    return sorted(key for key in header.keys() & stated.keys() if header[key] != stated[key])


def state_results() -> None:
    """Write what the records say into the README and the texts of the notebooks."""
    for readme in readmes():
        files.replace(readme, with_results(readme.read_text(encoding="utf-8")).encode())
    for name in execute.names():
        execute.write(notebook_with_results(name), execute.source(name))


def readmes() -> list[Path]:
    """The texts outside of notebooks that have parts made from records."""
    folders = (".", "benchmarks", "figures/results")
    return [path for folder in folders if (path := paths.ROOT / folder / "README.md").exists()]


def with_results(text: str) -> str:
    """A text with its generated parts made anew from the records.

    They stand between comments such as `<!-- results: ... -->` and `<!-- /results -->`. There are five: the path
    through the notebooks, some results and all of them, the table of speed, and the verdict of notebook 10.
    """
    parts = {
        "path": front_page.learning_path,
        "results": front_page.results,
        "all results": _results,
        "speed": _speed,
        "verdict": sweep.verdict,
    }
    for name, generate in parts.items():
        part = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- /{name} -->)", flags=re.DOTALL)
        if part.search(text):
            content = generate()
            text = part.sub(lambda found, content=content: f"{found[1]}\n{content}\n\n{found[2]}", text)
    return text


def notebook_with_results(name: str) -> NotebookNode:
    """A source notebook with the generated parts of its texts made anew."""
    notebook = execute.read(execute.source(name))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_results(cell.source)
    return notebook


def _results() -> str:
    from pixellib.series.tables import results_markdown  # pandas takes half a second, and only this needs it

    elsewhere = {name for name, _ in sweep.trainings()}  # notebook 10 has tables of its own
    named = [name for name in runs.names() if name not in elsewhere and runs.record_path(name).exists()]
    records = [runs.record(name) for name in named]
    records = [record for record in records if _comparable(record["results"][-1])]
    return results_markdown(records, {name: run.anchor for name in runs.names() if (run := runs.get(name)).anchor})


def _comparable(result: dict) -> bool:
    return result["split"] == "test" and result["num_samples"] != 1  # a bound of one sample says little


def _speed() -> str:
    from pixellib.series.tables import speed_markdown

    return speed_markdown(runs.benchmark()) if (paths.RESULTS / "bench.json").exists() else ""


def with_outputs(name: str, executed: NotebookNode) -> NotebookNode:
    """The source notebook with the outputs of an execution and nothing else of it.

    So no injected cell, no papermill metadata, no time stamps; cells are numbered anew and paths in the
    checkout made relative. RuntimeError when the execution is of other sources than today's or had other parameters
    than the usual ones, or when an output shows a path elsewhere on this machine.
    """
    notebook = execute.read(execute.source(name))
    cells = [cell for cell in executed.cells if INJECTED not in cell.metadata.get("tags", [])]
    if [cell.source for cell in cells] != [cell.source for cell in notebook.cells]:
        raise RuntimeError(f"the executed {name} is not of today's source; run `make figures` first")
    if not execute.is_of_today(name, executed):
        raise RuntimeError(f"{name} was executed with other sources or parameters; run `make publish` again")
    count = 0
    for cell, run in zip(notebook.cells, cells, strict=True):
        if cell.cell_type != "code":
            continue
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        cell.outputs = [_scrub(name, output, count) for output in run.outputs]
        for key in ("execution", "papermill"):
            cell.metadata.pop(key, None)
    notebook.metadata = nbformat.from_dict(METADATA | {"pixellib": {"hash": executed.metadata.pixellib.hash}})
    return notebook


def _scrub(name: str, output: NotebookNode, count: int) -> NotebookNode:
    root, home = (json.dumps(str(path))[1:-1] for path in (paths.ROOT, Path.home()))
    text = json.dumps(output).replace(f"{root}/", "")
    if root in text or (Path.home() != Path.home().parent and f"{home}/" in text):
        raise RuntimeError(f"notebook {name}: output [{count}] shows a path of this machine; print relative paths")
    output = nbformat.from_dict(json.loads(text))
    if "execution_count" in output:
        output.execution_count = count
    return output
