"""An execution is accepted only when it is whole, and committed outputs only when they are of today's sources."""

import copy
import json
import subprocess
import sys
import time

import nbformat
import pytest
import torch
from throwaway import FIGURE, PARAMETERS, add_notebook, command, project

from pixellib import checkpoints, files
from pixellib.series import build, check, execute, inputs, paths, publish, runs


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project in a folder whose name no shell or format string may stumble over."""
    path = project(tmp_path / "a {clone} of it", **{"01_a": ["print(seed + 1)", FIGURE]})
    monkeypatch.setattr(paths, "ROOT", path)
    monkeypatch.setattr(paths, "RESULTS", path / "figures" / "results")
    monkeypatch.setattr(paths, "CHECKPOINTS", path / "data" / "checkpoints")
    monkeypatch.setattr(runs, "names", lambda: [])
    return path


def outputs(file):
    """The text that each code cell of an executed notebook printed, injected cell included."""
    cells = execute.code_cells(nbformat.read(file, as_version=4))
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in cells]


# --- execution


def test_a_notebook_runs_with_its_parameters_and_its_source_stays(root, capsys):
    source = root / "notebooks" / "01_a.ipynb"
    before = source.read_bytes()
    output = execute.execute("01_a", ["profile=quick", "seed=41"])
    assert output == root / "build" / "quick" / "notebooks" / "01_a.ipynb"
    assert outputs(output)[2] == "42\n"
    assert (root / "build" / "quick" / "figures" / "01_a" / "01_a_dot.png").exists()
    assert source.read_bytes() == before
    assert not output.with_suffix(".partial.ipynb").exists()
    progress = capsys.readouterr().err
    assert "01_a: cell 3/4" in progress and "01_a: cell 4/4" in progress, "cells are counted as in the source"


def test_the_kernel_is_ours_whatever_the_user_has_installed(root, tmp_path, monkeypatch):
    """A registered `python3`, a start-up file or a matplotlibrc of the user must not change results."""
    decoy = tmp_path / "jupyter" / "kernels" / "python3"
    decoy.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "decoy", "language": "python"}
    (decoy / "kernel.json").write_text(json.dumps(spec))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("seed = 'spoilt'")
    monkeypatch.setenv("JUPYTER_PATH", str(decoy.parent.parent))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    monkeypatch.setenv("HOME", str(tmp_path / "no-such-home"))
    show = (
        "import os, sys, pixellib\n"
        "print(sys.executable, os.getcwd(), os.path.dirname(pixellib.__file__), sep='\\n')\n"
        "print('spoilt' in globals().values(), os.environ['MPLCONFIGDIR'])"
    )
    add_notebook(root, "01_a", [show])
    executable, folder, package, rest = outputs(execute.execute("01_a"))[2].splitlines()
    assert executable == sys.executable
    assert folder == str(root / "notebooks")
    assert package == str(root / "pixellib")
    assert rest == f"False {root / 'build' / 'cache' / 'matplotlib'}"
    assert not (tmp_path / "no-such-home").exists()


FAILURES = {
    "an exception": ("1 / 0", "ZeroDivisionError: division by zero"),
    "a kernel killed by the system": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "the kernel died",
    ),
    "a polite exit, which papermill takes for success": ("raise SystemExit(0)", "not executed to its end"),
}


@pytest.mark.parametrize(("code", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_notebook_that_did_not_run_to_its_end_is_a_failure(root, code, reason):
    output = root / "build" / "old.ipynb"
    output.parent.mkdir()
    output.write_text("the good one of yesterday")
    add_notebook(root, "01_a", ["print('before')", code, "print('after')"])
    with pytest.raises(RuntimeError, match=reason) as failure:
        execute.execute("01_a", output=output)
    assert "notebook 01_a failed in cell" in str(failure.value)
    assert output.read_text() == "the good one of yesterday", "a failure must not cost an earlier success"
    partial = root / "build" / "old.partial.ipynb"
    assert "build/old.partial.ipynb" in str(failure.value)
    assert "before\n" in outputs(partial) and "after\n" not in outputs(partial)


def test_the_failing_cell_is_named_by_its_number_in_the_source(root):
    add_notebook(root, "01_a", ["print('before')", "1 / 0"])
    with pytest.raises(RuntimeError, match="failed in cell 4/4: ZeroDivisionError"):
        execute.execute("01_a")


@pytest.mark.parametrize(("clashes", "succeeds"), [(1, True), (5, False)])
def test_a_kernel_that_lost_its_port_is_started_once_more(root, tmp_path, monkeypatch, clashes, succeeds):
    """The first kernels end as one does whose port is taken: at once, before any cell."""
    starts = tmp_path / "starts"
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, pathlib\n"
        "if 'ipykernel_launcher' in ' '.join(sys.orig_argv):\n"
        f"    with open({str(starts)!r}, 'a') as file: file.write('x')\n"
        f"    if pathlib.Path({str(starts)!r}).stat().st_size <= {clashes}:\n"
        "        sys.exit('zmq.error.ZMQError: Address already in use')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    if succeeds:
        assert outputs(execute.execute("01_a"))[2] == "1\n"
    else:
        with pytest.raises(RuntimeError, match="failed before its first cell"):
            execute.execute("01_a")
    assert starts.read_text() == "xx"


def test_widgets_and_their_state_are_not_kept(root):
    slider = "import ipywidgets; display(ipywidgets.IntSlider()); print('beside it')"
    add_notebook(root, "01_a", [slider])
    output = execute.execute("01_a")
    assert outputs(output)[2] == "beside it\n"
    assert "widget" not in json.dumps(nbformat.read(output, as_version=4).cells[3].outputs)
    assert "widgets" not in nbformat.read(output, as_version=4).metadata


def test_two_runs_of_one_notebook_do_not_mix(root):
    """The job of a build that was killed may still be at work when the next build starts it again."""
    with execute.lock(root / "build" / "reference" / "notebooks" / "01_a.lock", "not reached"):
        second = subprocess.Popen(**command(root, "notebook", "01_a"), stderr=subprocess.PIPE)
        assert "another process is running this notebook" in second.stderr.readline()
        time.sleep(1)
        assert second.poll() is None
    assert second.wait(timeout=600) == 0
    second.stderr.close()


def test_an_output_among_the_sources_is_refused(root):
    source = root / "notebooks" / "01_a.ipynb"
    before = source.read_bytes()
    for output in (source, root / "build" / ".." / "notebooks" / "01_a_executed.ipynb"):
        with pytest.raises(ValueError, match="lies among the source notebooks"):
            execute.execute("01_a", output=output)
    assert source.read_bytes() == before


def test_an_output_that_cannot_be_written_is_refused_before_anything_runs(root):
    for output, reason in ((root, "is a folder, not a file"), (root / "\udcff.ipynb", "is not valid UTF-8")):
        with pytest.raises(ValueError, match=reason):
            execute.execute("01_a", output=output)
    assert not (root / "build").exists()


# --- parameters


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["sede=1"], "no parameter 'sede'; choose from: profile, seed, device, figures_dir, retrain"),
        (["seed"], "'seed' must be given as key=value"),
        (["seed=one"], "'seed' of notebook 01_a must be int"),
        (["seed=1.5"], "'seed' of notebook 01_a must be int"),
        (["seed=True"], "'seed' of notebook 01_a must be int"),
        (["seed=" + "9" * 20_000], "'seed' of notebook 01_a must be int, for example 0; got '9999"),
        (["seed=-1"], "'seed' of notebook 01_a must be from 0 to 4,294,967,295"),
        (["seed=18446744073709551616"], "'seed' of notebook 01_a must be from 0 to 4,294,967,295"),
        (["retrain=1"], "'retrain' of notebook 01_a must be True or False"),
        (["profile=quick", "profile=paper"], "'profile' of notebook 01_a was given twice"),
        (["figures_dir=\udcff"], "is not valid UTF-8"),
        (["profile=qiuck"], "unknown profile 'qiuck'; choose from: quick, reference, paper"),
        (["device=gpu"], "device 'gpu' is not available here"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_starts(root, settings, reason):
    with pytest.raises(ValueError) as refusal:
        execute.execute("01_a", settings)
    assert reason in str(refusal.value) and len(str(refusal.value)) < 200
    assert not (root / "build").exists()


def test_an_unknown_notebook_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown notebook '99_none'; choose from: "):
        execute.source("99_none")


def test_values_get_the_type_of_their_default():
    defaults = {"name": "", "rate": 0.1, "steps": 0, "retrain": False, "sizes": [1], "limit": None}
    texts = ["name=5", "rate=2", "steps=-3", "retrain=True", "sizes=[4, 5]", "limit=7"]
    assert execute.parse("n", defaults, texts) == {
        "name": "5", "rate": 2.0, "steps": -3, "retrain": True, "sizes": [4, 5], "limit": 7
    }  # fmt: skip
    assert type(execute.parse("n", defaults, ["rate=2"])["rate"]) is float
    assert execute.parse("n", defaults, ["name=a=b"]) == {"name": "a=b"}


def test_parameters_are_read_from_the_one_tagged_cell(root):
    def parameters(source, tags=("parameters",)):
        add_notebook(root, "01_a", [], parameters=source)
        notebook = nbformat.read(root / "notebooks" / "01_a.ipynb", as_version=4)
        notebook.cells[1].metadata.tags = list(tags)
        nbformat.write(notebook, root / "notebooks" / "01_a.ipynb")
        return execute.parameters("01_a")

    assert parameters(PARAMETERS) == {
        "profile": "reference", "seed": 0, "device": "auto", "figures_dir": "../figures", "retrain": False
    }  # fmt: skip
    assert parameters('profile: str = "quick"  # quick, reference or paper') == {"profile": "quick"}
    for source in ("seed = compute()", "seed ="):
        with pytest.raises(ValueError, match="notebook 01_a: the default of its parameter 'seed' is no literal"):
            parameters(source)
    with pytest.raises(ValueError, match="exactly one code cell tagged 'parameters', found 0"):
        parameters(PARAMETERS, tags=[])


@pytest.mark.parametrize("content", ['{"cells": [', "[]", "7", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5}', ""])
def test_a_broken_notebook_is_named(root, content):
    (root / "notebooks" / "01_a.ipynb").write_text(content)
    with pytest.raises(RuntimeError, match=r"notebooks/01_a.ipynb is no notebook"):
        execute.execute("01_a")
    with pytest.raises(RuntimeError, match=r"notebooks/01_a.ipynb is no notebook"):
        check.check()
    assert inputs.of_source(root / "notebooks" / "01_a.ipynb") == inputs.of(""), "its job will say what is wrong"


# --- promoting


@pytest.mark.parametrize("profile", ["reference", "quick"])
@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--version"], ["--list-rules"], ["--unlock"], ["sweep"]])
def test_only_a_complete_build_of_the_reference_profile_promotes(root, monkeypatch, capsys, profile, options):
    """Snakemake ends with 0 after a plan, too, and after a build of something else."""
    monkeypatch.setattr(build, "_snakemake", lambda *_: 0)
    log = root / "build" / profile / "logs" / "snakemake.log"
    log.parent.mkdir(parents=True)
    log.write_text("what snakemake said\n")
    shown = nbformat.v4.new_output("display_data", {"image/png": "cG5n", "text/plain": "<figure 01_a_x: alt>"})
    cells = [nbformat.v4.new_code_cell("1", outputs=[shown])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), root / "01_a.ipynb")
    execute.write(execute.read(root / "01_a.ipynb"), build.executed("01_a"))
    build.build(profile, 1, options)
    promoted = {path.name: path.read_bytes() for path in (root / "figures").glob("*.png")}
    message = capsys.readouterr().err
    if options:
        assert promoted == {} and "build complete" not in message
        assert message.startswith("what snakemake said\n") and "nothing was promoted" in message
    else:
        assert promoted == ({"01_a_x.png": b"png"} if profile == "reference" else {})
        assert f"{profile} build complete" in message


# --- publishing


def publish_one(root, name="01_a"):
    """What `make publish` does to one notebook, without the graph."""
    merged = publish.with_outputs(name, execute.read(execute.execute(name)))
    build.promote()
    execute.write(merged, root / "notebooks" / f"{name}.ipynb")
    return (root / "notebooks" / f"{name}.ipynb").read_bytes()


def test_a_published_notebook_is_its_source_with_outputs_and_nothing_else(root):
    add_notebook(root, "01_a", ["print(figures_dir, seed)", FIGURE, "", "seed"])
    source = nbformat.read(root / "notebooks" / "01_a.ipynb", as_version=4)
    first = publish_one(root)
    published = nbformat.reads(first.decode(), as_version=4)
    assert [(cell.id, cell.source, dict(cell.metadata)) for cell in published.cells] == [
        (cell.id, cell.source, dict(cell.metadata)) for cell in source.cells
    ]
    assert [cell.execution_count for cell in published.cells[1:]] == [1, 2, 3, None, 4]
    assert published.cells[5].outputs[0].execution_count == 4
    assert published.cells[2].outputs[0].text == "build/reference/figures/01_a 0\n"
    assert published.cells[3].outputs[0].metadata["image/png"].alt == 'One "dot" & no more'
    assert set(published.metadata) == {"kernelspec", "language_info", "pixellib"}
    assert publish_one(root) == first, "publishing twice must give the same bytes"
    check.check()


@pytest.mark.parametrize("meanwhile", ["a notebook fails", "a source changes"])
def test_publishing_is_all_or_nothing(root, monkeypatch, meanwhile):
    """Of several notebooks none is published when one fails, or when code changes while they run."""
    add_notebook(root, "02_b", ["print(2)"])
    before = {file: file.read_bytes() for file in (root / "notebooks").glob("*.ipynb")}

    def run_all(profile, jobs):
        for name in execute.names():
            execute.execute(name)
        if meanwhile == "a notebook fails":
            raise RuntimeError("the reference build is not complete")
        (root / "pixellib" / "extra.py").write_text("changed = True")

    monkeypatch.setattr(build, "build", run_all)
    monkeypatch.setattr(publish, "ship_runs", lambda: None)
    with pytest.raises(RuntimeError, match=r"not complete|sources changed while the notebooks ran"):
        publish.publish()
    assert {file: file.read_bytes() for file in (root / "notebooks").glob("*.ipynb")} == before


def test_a_path_of_the_machine_is_not_published(root, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    add_notebook(root, "01_a", ["print('/home/somebody/thing')"])
    with pytest.raises(RuntimeError, match=r"01_a: output \[2\] shows a path of this machine"):
        publish_one(root)


def test_an_execution_of_another_source_is_not_published(root):
    executed = execute.read(execute.execute("01_a"))
    add_notebook(root, "01_a", ["print(seed + 2)", FIGURE])
    with pytest.raises(RuntimeError, match="not of today's source"):
        publish.with_outputs("01_a", executed)


def test_the_hash_covers_what_outputs_depend_on_and_no_more(root):
    add_notebook(root, "01_a", ["record('iwae-k5')"])
    file, results, series = root / "notebooks" / "01_a.ipynb", paths.RESULTS, root / "pixellib" / "series"
    paths.CHECKPOINTS.mkdir(parents=True)

    def digest():
        return inputs.digest(execute.read(file).cells)

    def changes(path, text):
        before = digest()
        path.write_text(text)
        return digest() != before

    assert changes(root / "pixellib" / "extra.py", "x = 1"), "the library"
    assert changes(series / "figures.py", "x = 1"), "the style of all figures"
    assert not changes(series / "cli.py", "x = 1") and not changes(series / "extra.py", "x = 1"), "machinery"
    assert not changes(series / "permuted" / "sweep.py", "x = 1"), "what only notebook 10 uses"
    assert changes(results / "iwae-k5.json", "{}")
    assert changes(results / "iwae-k5.json", '{"nats": 85}')
    assert changes(results / "iwae-k5-seed2.json", "{}"), "all seeds of a run"
    assert changes(paths.CHECKPOINTS / "iwae-k5.safetensors", "weights")
    assert not changes(results / "iwae-k50.json", "{}"), "another run's record, though its name begins alike"
    assert not changes(results / "big-iwae-k5.json", "{}")
    assert not changes(results / "permuted-grey-softmax-both.json", "{}")
    assert not changes(results / "bench.json", "{}")
    assert not changes(root / "README.md", "prose")

    before, notebook = digest(), execute.read(file)
    notebook.cells[2].outputs, notebook.cells[2].execution_count = [], 7
    assert inputs.digest(notebook.cells) == before
    for change in ({"source": "2"}, {"cell_type": "raw"}, {"metadata": {"tags": ["other"]}}):
        altered = copy.deepcopy(notebook)
        altered.cells[2].update(nbformat.from_dict(change))
        assert inputs.digest(altered.cells) != before

    add_notebook(root, "01_a", ["from pixellib.series.permuted import sweep", "sweep.table()", "runs.benchmark()"])
    assert changes(results / "permuted-grey-softmax-both.json", '{"nats": 85}')
    assert changes(results / "bench.json", '{"rows": []}')
    assert changes(series / "permuted" / "sweep.py", "x = 2")


def test_the_check_names_a_notebook_and_its_fault(root):
    def fault():
        with pytest.raises(RuntimeError, match="run `make publish`") as refusal:
            check.check()
        return str(refusal.value)

    assert "01_a does not carry the outputs" in fault()
    publish_one(root)
    check.check()
    (root / "pixellib" / "series" / "new.py").write_text("")
    check.check()
    (root / "pixellib" / "new.py").write_text("")
    assert "01_a has outputs older than its source, the library or the records" in fault()
    notebook = nbformat.read(execute.execute("01_a"), as_version=4)
    execute.write(notebook, root / "notebooks" / "01_a.ipynb")
    assert "01_a holds a cell of parameters injected" in fault()
    add_notebook(root, "01_a", ["1"], parameters=PARAMETERS.replace("retrain = False", ""))
    assert "01_a lacks the parameters retrain" in fault()


def test_the_check_refuses_a_table_of_results_that_is_not_of_the_records(root):
    publish_one(root)
    readme = root / "README.md"
    readme.write_text("Before\n<!-- results: from records -->\n| a number typed by hand |\n<!-- /results -->\nAfter\n")
    with pytest.raises(RuntimeError, match=r"README\.md has a table of results"):
        check.check()
    text = publish.with_results(readme.read_text())
    assert "by hand" not in text and text.startswith("Before\n<!--") and text.endswith("-->\nAfter\n")
    assert publish.with_results(text) == text
    readme.write_text(text)
    check.check()


def test_a_result_in_the_text_of_a_notebook_is_that_of_the_records(root, monkeypatch):
    generated = "<!-- verdict: from records -->\n{}\n<!-- /verdict -->"
    monkeypatch.setattr(publish.sweep, "verdict", lambda: r"The answer is \42.")
    notebook = execute.read(root / "notebooks" / "01_a.ipynb")
    notebook.cells[0].source = generated.format("a number typed by hand")
    execute.write(notebook, root / "notebooks" / "01_a.ipynb")
    publish.state_results()
    publish_one(root)
    cells = execute.read(root / "notebooks" / "01_a.ipynb").cells
    assert generated.format("\n" + r"The answer is \42." + "\n") in [cell.source for cell in cells]
    check.check()
    monkeypatch.setattr(publish.sweep, "verdict", lambda: "The answer is 43.")
    with pytest.raises(RuntimeError, match="01_a states a result that is not that of the records"):
        check.check()


# --- shipping and checking checkpoints, records and figures


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Folders for what is trained and what ships, with two runs: "one" ships its checkpoint, "two" does not."""
    for name, folder in (("WORK", "work"), ("CHECKPOINTS", "checkpoints"), ("RESULTS", "results")):
        monkeypatch.setattr(paths, name, tmp_path / folder)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    known = {"iwae-k1": runs.get("iwae-k1"), "pixelcnnpp-without-shortcuts": runs.get("pixelcnnpp-without-shortcuts")}
    monkeypatch.setattr(runs, "names", lambda: list(known))
    (tmp_path / "README.md").write_text("No tables.")
    return tmp_path


def train(name, seed=0, results=({"log_likelihood": -86.8},), code_version="0.2.0+x"):
    """Leave what a training leaves: a checkpoint, and a record that says what its header says."""
    folder = runs.get(name).folder("reference", seed)
    record = {"name": name, "seed": seed, "code_version": code_version, "results": list(results)}
    checkpoints.save(folder / f"{name}.safetensors", {"weight": torch.ones(2)}, record)
    files.write_json(folder / f"{name}.json", record)


def shipped(tmp_path):
    return sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("[cr]*/*"))


def test_trained_runs_are_shipped_once_they_are_evaluated(folders):
    """A record without results is that of a training which a notebook asked for, not of a run to publish."""
    train("iwae-k1")
    train("iwae-k1", seed=1)  # which is not one of the run's seeds
    train("pixelcnnpp-without-shortcuts", results=[])
    train("pixelcnnpp-without-shortcuts", seed=1)
    publish.ship_runs()
    expected = ["iwae-k1.json", "pixelcnnpp-without-shortcuts-seed1.json"]
    assert shipped(folders) == ["checkpoints/iwae-k1.safetensors", *(f"results/{name}" for name in expected)]
    check.check()


def test_a_checkpoint_of_one_training_does_not_ship_with_the_record_of_another(folders):
    train("iwae-k1")
    record = runs.get("iwae-k1").folder("reference") / "iwae-k1.json"
    files.write_json(record, files.read_json(record) | {"results": [{"log_likelihood": -90.0}]})
    with pytest.raises(RuntimeError, match=r"iwae-k1\.safetensors and the record beside it disagree about results"):
        publish.ship_runs()
    assert shipped(folders) == []


def fault():
    with pytest.raises(RuntimeError) as refusal:
        check.check()
    return str(refusal.value)


def test_the_check_refuses_checkpoints_that_are_altered_missing_or_of_another_training(folders):
    train("iwae-k1")
    publish.ship_runs()
    checkpoint, record = paths.CHECKPOINTS / "iwae-k1.safetensors", paths.RESULTS / "iwae-k1.json"
    good = checkpoint.read_bytes()
    checkpoint.write_bytes(good[:-1] + b"\0")
    assert "iwae-k1.safetensors was altered" in fault()
    checkpoint.unlink()
    assert "checkpoints/iwae-k1.safetensors is missing, although there is results/iwae-k1.json" in fault()
    checkpoint.write_bytes(good)
    record.rename(folders / "elsewhere.json")
    assert "results/iwae-k1.json is missing, although there is checkpoints/iwae-k1.safetensors" in fault()
    record.write_text((folders / "elsewhere.json").read_text().replace("-86.8", "-86.9"))
    assert "checkpoints/iwae-k1.safetensors and results/iwae-k1.json disagree about results" in fault()
    checkpoint.rename(paths.CHECKPOINTS / "iwae-k7.safetensors")
    assert "checkpoints/iwae-k7.safetensors is the checkpoint of no run that ships one" in fault()


@pytest.mark.parametrize("content", ["{", "[]", "7", "null", '{"name": "iwae-k1"}', '{"results": NaN}'])
def test_a_broken_record_is_named(folders, content):
    train("iwae-k1")
    publish.ship_runs()
    (paths.RESULTS / "iwae-k1.json").write_text(content)
    (paths.RESULTS / "iwae-k9.json").write_text("{}")
    assert "results/iwae-k1.json " in fault() and "results/iwae-k9.json is the record of no run" in fault()


def test_the_check_lists_records_that_are_older_than_the_training_loop(folders, capsys, monkeypatch):
    monkeypatch.setattr(check, "TRAINING_CHANGED", "0.10.0")
    for seed, version in enumerate(("0.9.1+abc", None, "0.10.0+abc")):
        train("pixelcnnpp-without-shortcuts", seed, code_version=version)
    publish.ship_runs()
    check.check()
    note = "trained before the training loop changed in 0.10.0: pixelcnnpp-without-shortcuts\n"
    assert capsys.readouterr().err == note, "seeds 0 and 1, and that is no fault"
    monkeypatch.setattr(check, "TRAINING_CHANGED", "0")
    check.check()
    assert capsys.readouterr().err == ""


def test_the_check_compares_figures_with_what_the_notebooks_show(root):
    publish_one(root)
    figure = root / "figures" / "01_a_dot.png"
    good = figure.read_bytes()
    figure.write_bytes(b"garbage")
    assert "figures/01_a_dot.png is not what its notebook shows" in fault()
    figure.unlink()
    assert "figures/01_a_dot.png is missing" in fault()
    figure.write_bytes(good)
    (root / "figures" / "01_a_old.png").write_bytes(good)
    assert "figures/01_a_old.png is shown by no notebook" in fault()
