"""An execution is accepted only when it is whole, and its parameters only when they can be meant."""

import json
import subprocess
import sys
import time

import nbformat
import pytest
from throwaway import FIGURE, PARAMETERS, add_notebook, command, project, use

from pixellib.series import check, execute, notebook_inputs


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project in a folder whose name no shell or format string may stumble over."""
    return use(monkeypatch, project(tmp_path / "a {clone} of it", **{"01_a": ["print(seed + 1)", FIGURE]}))


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
    assert "a run in the profile `quick`" in nbformat.read(output, as_version=4).cells[1].source
    execute.execute("01_a", ["profile=reference"])
    told = nbformat.read(root / "build" / "reference" / "notebooks" / "01_a.ipynb", as_version=4)
    assert not any("a run in the profile" in cell.source for cell in told.cells), "of which the text speaks"
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
    with execute.lock(root / "build" / "reference" / "notebooks" / ".01_a.lock", "not reached"):
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
    assert notebook_inputs.of_source(root / "notebooks" / "01_a.ipynb") == notebook_inputs.of(""), (
        "its job will say what is wrong"
    )
