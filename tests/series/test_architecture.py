"""Measures of the code: who imports whom, and how long a file or a function may be."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "pixellib").rglob("*.py"))


def lint_imports(folder):
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "pixellib", tmp_path / "pixellib", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_imports_point_downwards(copy):
    answer = lint_imports(copy)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("evaluation.py", "from pixellib.series import paths"),  # the library knows nothing of the series
        ("likelihoods/base.py", "from pixellib.models import ImageModel"),  # nor a likelihood of models
        ("training/loop.py", "from pixellib.models import PixelCNN"),  # nor training of one model
        ("training/loop.py", "from pixellib.models.latent import vae"),
        ("models/latent/vae.py", "from pixellib.models.autoregressive import PixelCNN"),  # nor families of each other
        ("new.py", ""),  # a new module has its place among the layers
    ],
)
def test_an_import_that_points_upwards_is_found(copy, module, statement):
    with open(copy / "pixellib" / module, "a") as file:
        file.write(f"\n{statement}\n")
    assert lint_imports(copy).returncode != 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_can_be_read_in_one_sitting(path):
    text = path.read_text()
    assert text.count("\n") <= 350
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: node.end_lineno - node.lineno + 1 for node in functions}
    assert {name: length for name, length in lengths.items() if length > 80} == {}


def test_one_list_of_dependencies():
    assert re.search(r"^      - -e \.\[series\]$", (ROOT / "environment.yml").read_text(), flags=re.MULTILINE)
    for file in ("pyproject.toml", "Makefile", "environment.yml", ".ci/run"):
        assert not re.search(r"torch==|\bpypi\b", (ROOT / file).read_text())
