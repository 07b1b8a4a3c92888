"""The Makefile: what it installs, what its targets call, and what it says where Python is missing."""

import os
import shutil
import subprocess
import sys
import time

import pytest
from throwaway import ROOT


def make(path, *arguments, **environment):
    inherited = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(
        ["make", *arguments], cwd=path, env=inherited | environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path):
    """A checkout with a Python that only writes down what it is asked to do."""
    path = tmp_path / "a clone"
    path.mkdir()
    for file in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / file, path)
    (path / "python").write_text(
        '#!/bin/sh\necho "$@" >> calls\n'
        'if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp lint-imports "$3/bin"; fi\n'
        'if [ "$2" = pip ] && [ -e broken ]; then exit 1; fi\n'
    )
    (path / "python").chmod(0o755)
    (path / "lint-imports").write_text('#!/bin/sh\necho "-m importlinter $@" >> calls\n')
    (path / "lint-imports").chmod(0o755)
    return path


def calls(checkout):
    """What the Python was asked to do since the last time; version checks aside."""
    file = checkout / "calls"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return [line for line in lines if line.startswith("-m")]


INSTALL = ["-m pip install -e .[dev]", "-m pip install -e .[series,dev]"]


def test_the_environment_is_made_once_and_again_when_half_made(checkout):
    (checkout / "broken").touch()
    assert make(checkout, "env", "PYTHON=./python").returncode != 0
    assert calls(checkout) == ["-m venv .venv", INSTALL[0]]
    (checkout / ".venv" / "left-over").touch()
    (checkout / "broken").unlink()
    assert make(checkout, "env", "PYTHON=./python").returncode == 0
    assert calls(checkout) == ["-m venv .venv", *INSTALL]
    assert not (checkout / ".venv" / "left-over").exists(), "a half-made environment starts from nothing"

    assert make(checkout, "env", "PYTHON=./python").returncode == 0
    assert calls(checkout) == [], "nothing to do"
    later = time.time() + 5
    os.utime(checkout / "pyproject.toml", (later, later))
    assert make(checkout, "env", "PYTHON=./python").returncode == 0
    assert calls(checkout) == INSTALL, "a changed list of dependencies is installed into what is there"


def test_an_environment_that_make_did_not_begin_is_never_deleted(checkout):
    (checkout / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(checkout / "python", checkout / ".venv" / "bin")
    (checkout / ".venv" / "precious").touch()
    assert make(checkout, "env", "PYTHON=./python").returncode == 0
    assert calls(checkout) == INSTALL
    assert (checkout / ".venv" / "precious").exists()


def test_torch_can_come_from_elsewhere(checkout):
    assert make(checkout, "env", "PYTHON=./python", "TORCH_INDEX=https://example.org/cpu").returncode == 0
    torch = "-m pip install --index-url https://example.org/cpu torch torchvision"
    assert calls(checkout) == ["-m venv .venv", torch, *INSTALL]


def test_a_python_that_is_too_old_or_missing_is_named(checkout):
    old = checkout / "old"
    old.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] || exit 9\n'
        f'exec \'{sys.executable}\' -c "import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])" "$2"\n'
    )
    old.chmod(0o755)
    result = make(checkout, "env", "PYTHON=./old")
    assert result.returncode != 0 and "3.11 to 3.13 is needed and ./old is 3.9" in result.stdout
    result = make(checkout, "env", "PYTHON=no-such-python")
    assert result.returncode != 0 and "There is no 'no-such-python' on this machine" in result.stdout
    assert not (checkout / ".venv").exists()


def test_every_target_is_listed_and_calls_what_it_says(checkout):
    targets = ["env", "figures", "test", "test-library", "test-slow", "lab", "train", "sweep", "bench", "publish"]
    targets += ["lint", "clean", "drills", "test-lowest", "audit", "site"]
    listing = make(checkout).stdout
    assert all(f"make {target} " in listing for target in targets) and "TORCH_INDEX" in listing
    assert make(checkout, "env", "PYTHON=./python").returncode == 0
    calls(checkout)
    expected = {
        ("figures", "PROFILE=quick", "JOBS=3"): ["-m pixellib figures --profile quick --jobs 3"],
        ("figures", "OPTIONS=--dry-run"): ["-m pixellib figures --profile reference -- --dry-run"],
        ("test",): [
            "-m ruff check",
            "-m ruff format --check",
            "-m importlinter --no-logo",
            "-m pixellib check",
            "-m pytest -m not slow -n auto --dist loadgroup",
        ],
        ("test-library",): ["-m pytest -m not slow -n auto --dist loadgroup tests/library pixellib"],
        ("test-slow",): ["-m pytest -m slow"],
        ("drills",): ["-m pytest -m  tests/drills"],
        ("train", "RUN=iwae-k1"): ["-m pixellib train iwae-k1 --profile reference"],
        ("sweep", "JOBS=2"): ["-m pixellib figures --profile reference --jobs 2 -- sweep"],
        ("publish",): ["-m pixellib publish"],
        ("site",): [
            f"-m pixellib.series.site.render {part} build/site notebooks/[0-9][0-9]_*.ipynb"
            for part in ("front", "page")
        ],
        ("lab",): ["-m jupyter lab" + " --allow-root" * (os.getuid() == 0)],
        ("bench",): ["-m pytest benchmarks -q"],
    }
    for arguments, wanted in expected.items():
        assert make(checkout, *arguments).returncode == 0
        assert calls(checkout) == wanted
    result = make(checkout, "train")
    assert result.returncode != 0 and "Which run?" in result.stdout
    result = make(checkout, "lab", "PROFILE=quick")
    assert result.returncode != 0 and "profile = " in result.stdout, "where it would have no effect"
    for folder in ("reference", "runs/iwae-k1"):
        (checkout / "build" / folder).mkdir(parents=True)
    assert make(checkout, "clean").returncode == 0
    assert [path.name for path in (checkout / "build").iterdir()] == ["runs"] and (checkout / ".venv").exists()
    assert make(checkout, "clean").returncode == 0
