"""The README: its snippets run as they stand, its links lead somewhere, and its commands exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from pixellib.series import cli

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FOLDERS = ("data", "benchmarks", "figures/results", "requirements")
TEXTS = {"README.md": TEXT, "CONTRIBUTING.md": CONTRIBUTING}
TEXTS |= {f"{folder}/README.md": (ROOT / folder / "README.md").read_text(encoding="utf-8") for folder in FOLDERS}


def blocks(language, text=TEXT):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def test_the_snippets_run_one_after_the_other(tmp_path):
    """In an empty folder, as a reader would paste them into one session."""
    snippets = blocks("python")
    assert len(snippets) >= 4
    (tmp_path / "readme.py").write_text("\n".join(snippets))
    answer = subprocess.run(
        [sys.executable, "readme.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    *_, shape, loaded, nats, sampled = answer.stdout.splitlines()
    assert shape == "torch.Size([10, 1, 8, 8])", "as the comment says"
    assert loaded == "iwae-k50: loaded data/checkpoints/iwae-k50.safetensors"
    assert 70 < float(nats.split()[0]) < 110, "near the number in the table"
    assert sampled.startswith("pixelcnn-mnist-5x30: loaded data/checkpoints/")


def test_model_likelihood_and_checkpoint_of_your_own_work_as_they_stand(tmp_path):
    snippets = blocks("python", CONTRIBUTING)
    assert len(snippets) == 3
    (tmp_path / "own.py").write_text("\n".join(snippets))
    answer = subprocess.run(
        [sys.executable, tmp_path / "own.py"], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    histograms, scored, shape = answer.stdout.splitlines()
    assert 1.3 < float(histograms.split()[0]) < 2.0, "far below the 8 bits of a guess"
    assert scored.startswith("tensor([-") and shape == "torch.Size([2, 1, 8, 8])"


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", TEXTS[name])
    for link in links:
        file, _, heading = link.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), link
        if heading:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings], link


def test_the_commands_and_their_options_exist():
    commands = typer.main.get_command(cli.app).commands
    code = [line for text in TEXTS.values() for block in blocks("", text) for line in block.splitlines()]
    code += [span for text in TEXTS.values() for span in re.findall(r"`([^`\n]+)`", text)]
    named = [found.groups() for line in code if (found := re.search(r"(?:^|-m )pixellib ([a-z][a-z-]*)([^#;]*)", line))]
    assert len({name for name, _ in named}) > 5
    for name, rest in named:
        assert name in commands, name
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, (name, rest)


def test_the_targets_of_make_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(
        re.findall(
            r"\bmake ([a-z-]+)",
            "\n".join([*blocks(""), *re.findall(r"^    make .*$|`make [^`]+`", TEXT, flags=re.MULTILINE)]),
        )
    )
    assert {"figures", "test", "env"} <= named <= targets


def test_what_stands_where_is_there():
    (tree,) = [block for block in blocks("") if block.startswith("notebooks/")]
    top = [*re.findall(r"^(\w+/)", tree, flags=re.MULTILINE), "benchmarks/"]
    inside = re.findall(r"^  (\w+/|\w+\.py)|  (\w+\.py)", tree, flags=re.MULTILINE)
    paths = [ROOT / name for name in top] + [ROOT / "pixellib" / name for pair in inside for name in pair if name]
    assert len(paths) > 10 and [path for path in paths if not path.exists()] == []


def test_every_notebook_is_listed():
    for notebook in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        assert f"(notebooks/{notebook.name})" in TEXT
