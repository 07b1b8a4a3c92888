"""What is committed belongs together: notebooks, texts, figures, checkpoints and records."""

import nbformat
import pytest
import torch
from throwaway import FIGURE, PARAMETERS, add_notebook, project, publish_one, use

from pixellib import checkpoints, files
from pixellib.series import check, execute, paths, publish, runs


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project in a folder whose name no shell or format string may stumble over."""
    return use(monkeypatch, project(tmp_path / "a {clone} of it", **{"01_a": ["print(seed + 1)", FIGURE]}))


def fault():
    with pytest.raises(RuntimeError) as refusal:
        check.check()
    return str(refusal.value)


def test_the_check_names_a_notebook_and_its_fault(root):
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
    identity = runs.get(name).identity("reference", seed)
    record = {"name": name, "seed": seed, "identity": identity, "code_version": code_version, "results": list(results)}
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


def test_a_training_of_another_identity_does_not_ship(folders):
    """Such as one that was made before the settings of the run were changed."""
    train("iwae-k1")
    path = runs.get("iwae-k1").folder("reference") / "iwae-k1.json"
    record = files.read_json(path)
    files.write_json(path, record | {"identity": record["identity"] | {"seed": 7}})
    with pytest.raises(RuntimeError, match=r"another training than run iwae-k1 is today: its seed is 7, not 0"):
        publish.ship_runs()
    assert shipped(folders) == []


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
    note = "no fault, but from before the training loop changed in 0.10.0: pixelcnnpp-without-shortcuts\n"
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
