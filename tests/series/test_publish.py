"""Only complete builds are promoted, and a published notebook is its source with the outputs of today's sources."""

import copy

import nbformat
import pytest
from throwaway import FIGURE, add_notebook, project, publish_one, use

from pixellib.series import build, check, execute, notebook_inputs, paths, publish


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project in a folder whose name no shell or format string may stumble over."""
    return use(monkeypatch, project(tmp_path / "a {clone} of it", **{"01_a": ["print(seed + 1)", FIGURE]}))


@pytest.mark.parametrize("profile", ["reference", "quick"])
@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--version"], ["--list-rules"], ["--unlock"], ["sweep"]])
def test_only_a_complete_build_of_the_reference_profile_promotes(root, monkeypatch, capsys, profile, options):
    """Snakemake ends with 0 after a plan, too, and after a build of something else."""
    monkeypatch.setattr(build, "_snakemake", lambda *_: 0)
    monkeypatch.setattr(execute, "is_of_today", lambda *_: True)
    log = root / "build" / profile / "logs" / "snakemake.log"
    log.parent.mkdir(parents=True)
    log.write_text("what snakemake said\n")
    shown = nbformat.v4.new_output("display_data", {"image/png": "cG5n", "text/plain": "<figure 01_a_x: alt>"})
    cells = [nbformat.v4.new_code_cell("1", outputs=[shown])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), root / "01_a.ipynb")
    execute.write(execute.read(root / "01_a.ipynb"), build.executed("01_a"))
    foreign = root / "build" / "reference" / "figures" / "01_a" / "01_a_foreign.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"left by somebody, and shown by no notebook")
    build.build(profile, 1, options)
    promoted = {path.name: path.read_bytes() for path in (root / "figures").glob("*.png")}
    message = capsys.readouterr().err
    if options:
        assert promoted == {} and "build complete" not in message
        assert message.startswith("what snakemake said\n") and "nothing was promoted" in message
    else:
        assert promoted == ({"01_a_x.png": b"png"} if profile == "reference" else {})
        assert f"{profile} build complete" in message


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
    with pytest.raises(RuntimeError, match=r"not complete|was executed with other sources or parameters"):
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


def test_a_file_that_is_gone_or_a_parameter_that_was_chosen_makes_an_execution_outdated(root, monkeypatch):
    """No time of change tells of either; without this a build took such outputs for its own."""
    monkeypatch.setattr(build, "_snakemake", lambda *_: 1)  # whatever it does comes later
    monkeypatch.setattr(build, "_report", lambda *_: None)
    extra = root / "pixellib" / "extra.py"

    def is_kept(*settings):
        output = execute.execute("01_a", settings)
        extra.unlink(missing_ok=True)
        with pytest.raises(RuntimeError, match="the reference build is not complete"):
            build.build("reference", 1)
        return output.exists()

    assert is_kept() and is_kept("seed=0", "profile=reference")
    assert not is_kept("seed=5")
    extra.write_text("x = 1")
    assert not is_kept()


def test_the_hash_covers_what_outputs_depend_on_and_no_more(root):
    add_notebook(root, "01_a", ["record('iwae-k5')"])
    file, results, series = root / "notebooks" / "01_a.ipynb", paths.RESULTS, root / "pixellib" / "series"
    paths.CHECKPOINTS.mkdir(parents=True)

    def digest():
        return notebook_inputs.digest(execute.read(file).cells)

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
    (results / "iwae-k5.json").write_text('{"start": "iwae-k5-part2"}')
    (results / "iwae-k5-part2.json").write_text('{"start": "iwae-k5-part1"}')
    assert changes(results / "iwae-k5-part1.json", '{"nats": 86}'), "a training that its training began with"
    (root / "pixellib" / ".ipynb_checkpoints").mkdir()
    assert not changes(root / "pixellib" / ".ipynb_checkpoints" / "extra.py", "x = 1"), "what an editor keeps"
    assert not changes(results / "iwae-k50.json", "{}"), "another run's record, though its name begins alike"
    assert not changes(results / "big-iwae-k5.json", "{}")
    assert not changes(results / "permuted-grey-softmax-scrambled.json", "{}")
    assert not changes(results / "bench.json", "{}")
    assert not changes(root / "README.md", "prose")

    before, notebook = digest(), execute.read(file)
    notebook.cells[2].outputs, notebook.cells[2].execution_count = [], 7
    assert notebook_inputs.digest(notebook.cells) == before
    for change in ({"source": "2"}, {"cell_type": "raw"}, {"metadata": {"tags": ["other"]}}):
        altered = copy.deepcopy(notebook)
        altered.cells[2].update(nbformat.from_dict(change))
        assert notebook_inputs.digest(altered.cells) != before

    add_notebook(root, "01_a", ["from pixellib.series.permuted import sweep", "sweep.table()", "runs.benchmark()"])
    assert changes(results / "permuted-grey-softmax-scrambled.json", '{"nats": 85}')
    assert changes(results / "bench.json", '{"rows": []}')
    assert changes(series / "permuted" / "sweep.py", "x = 2")


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
