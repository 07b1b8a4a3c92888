"""The notebooks of the series themselves: they run, keep the house's measures, and carry what their readers need."""

import ast
import re

import pytest

from pixellib.series import execute, paths

NAMES = execute.names()


def _markdown(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def _images(notebook):
    outputs = [output for cell in execute.code_cells(notebook) for output in cell.outputs]
    return [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in NAMES])
def test_a_notebook_runs_in_the_quick_profile_and_draws_every_figure_it_announces(name, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "WORK", tmp_path / "runs")  # no other training is touched
    output = tmp_path / f"{name}.ipynb"
    execute.execute(name, ["profile=quick", f"figures_dir={tmp_path / 'figures'}"], output)
    executed = execute.read(output)
    announced = re.findall(r"`(\d\d_\w+?|_\w+)`", _markdown(executed)[0].partition("**Figures.**")[2])
    expected = {figure if figure[0] != "_" else name + figure for figure in announced}
    assert expected and {path.stem for path in (tmp_path / "figures").glob("*.png")} == expected
    assert all(image.metadata["image/png"]["alt"] for image in _images(executed))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_keeps_the_measures_of_the_series(name):
    # short cells and short paragraphs are what makes a notebook readable
    notebook = execute.read(execute.source(name))
    code = [cell.source.count("\n") + 1 for cell in execute.code_cells(notebook)]
    words = [len(text.split()) for text in _markdown(notebook)]
    assert 35 <= len(notebook.cells) <= 55
    assert max(code) <= 25
    assert 2000 <= sum(words) <= 4000 and max(words) <= 250
    assert execute.source(name).stat().st_size < 3e6


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_outputs_are_of_the_reference_profile_and_say_what_each_image_shows(name):
    notebook = execute.read(execute.source(name))
    images = _images(notebook)
    assert images and all(image.metadata["image/png"]["alt"] for image in images)
    assert execute.parameters(name)["profile"] == "reference"
    streams = "".join(
        o.text for cell in execute.code_cells(notebook) for o in cell.outputs if o.output_type == "stream"
    )
    assert "profile reference" in streams and "Warning" not in streams


@pytest.mark.parametrize("name", NAMES)
def test_runs_are_named_in_full(name):
    """Otherwise nobody notices when a record that a notebook shows has changed (see notebook_inputs.py)."""
    code = "\n".join(cell.source for cell in execute.code_cells(execute.read(execute.source(name))))
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) and node.args]
    of_runs = [call for call in calls if ast.unparse(call.func) in ("runs.get", "runs.record", "runs.curve")]
    assert not [ast.unparse(call) for call in of_runs if isinstance(call.args[0], ast.JoinedStr | ast.BinOp)]


@pytest.mark.parametrize("name", NAMES)
def test_links_between_notebooks_and_files_lead_somewhere(name):
    notebook = execute.read(execute.source(name))
    folder = execute.source(name).parent
    text = re.sub(r"`[^`]*`", "", "\n".join(_markdown(notebook)))  # code is no link
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (folder / link).exists(), link
