"""The library by itself: every public name is there, documented, and needs nothing of the series."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import pixellib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Import names that are not the names of the distributions.
IMPORT_NAMES = {
    "pillow-jxl-plugin": "pillow_jxl",
    "pillow": "PIL",
    "ipython": "IPython",
    "jupyter-client": "jupyter_client",
    "snakemake-executor-plugin-slurm": "snakemake_executor_plugin_slurm",
}


def import_names(requirements):
    names = [requirement.partition(">")[0] for requirement in requirements]
    return {IMPORT_NAMES.get(name, name) for name in names}


LIBRARY = import_names(PROJECT["dependencies"])
SERIES = import_names(PROJECT["optional-dependencies"]["series"])


def library_modules():
    packages = pkgutil.walk_packages(pixellib.__path__, "pixellib.")
    return [m.name for m in packages if not m.name.startswith("pixellib.series") and m.name != "pixellib.__main__"]


def run(code):
    """The output of a fresh Python."""
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def test_the_library_depends_on_seven_packages():
    # somebody who wants one likelihood must not have to install JupyterLab
    assert {"torch", "torchvision", "numpy", "PIL", "safetensors", "tqdm", "filelock"} == LIBRARY


def test_every_package_that_is_imported_is_declared():
    """One that only comes along with another can go with its next version."""
    sources = [ast.walk(ast.parse(path.read_text())) for path in (ROOT / "pixellib").rglob("*.py")]
    nodes = [node for source in sources for node in source]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    imported = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"pixellib"}
    assert imported - LIBRARY - SERIES - import_names(PROJECT["optional-dependencies"]["coding"]) == set()


@pytest.mark.parametrize("name", ["tested", "lowest"])
def test_the_exact_versions_keep_to_the_bounds(name):
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    pinned = {}
    for line in text.splitlines():
        requirement = Requirement(line)
        pinned.setdefault(canonicalize_name(requirement.name), []).append(next(iter(requirement.specifier)).version)
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *extras["series"], *extras["dev"]]:
        stated = Requirement(line)
        if stated.name == PROJECT["name"]:
            continue
        versions = pinned[canonicalize_name(stated.name)]
        assert all(stated.specifier.contains(version) for version in versions), line
        if name == "lowest":
            lowest = next(one.version for one in stated.specifier if one.operator == ">=")
            assert min(map(Version, versions)).release[:2] == (*Version(lowest).release, 0)[:2], line


HIDE = f"""
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {SERIES!r} else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Hiding, sys.meta_path)
"""


def test_the_library_works_where_nothing_of_the_series_is_installed():
    imports = "\n".join(f"import {name}" for name in library_modules())
    use = (
        "import torch, pixellib\n"
        "model = pixellib.GatedPixelCNN(channels=1, num_filters=8, num_layers=1, kernel_size=3)\n"
        "x = torch.randint(0, 256, (8, 1, 6, 6), dtype=torch.uint8)\n"
        "settings = pixellib.Settings(steps=2, batch_size=4)\n"
        "import tempfile\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    trained = pixellib.fit(model, x, settings, device='cpu', progress=False, folder=folder).model\n"
        "print(pixellib.evaluate(trained, x, device='cpu').num_images)"
    )
    assert run(f"{HIDE}\n{imports}\n{use}") == "8"


@pytest.mark.parametrize("call", ["import pixellib.__main__", "from pixellib.series.cli import main"])
def test_the_command_line_says_in_one_line_what_to_install(call):
    code = f"{HIDE}\n{call}"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 1 and answer.stdout == ""
    assert answer.stderr.count("\n") == 1 and "pip install -e '.[series]'" in answer.stderr


def test_importing_the_library_does_little():
    # neither torch is loaded nor any random number drawn, any thread or device set
    assert run("import sys, pixellib; print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))") == "[]"
    imports = "\n".join(f"import {name}" for name in library_modules())
    state = "(torch.random.initial_seed(), torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())"
    before = f"import torch; torch.manual_seed(0); a = torch.random.get_rng_state(); b = {state}\n"
    after = f"\nprint(bool((a == torch.random.get_rng_state()).all()) and b == {state})"
    assert run(before + imports + after) == "True"


def test_every_public_name_is_there():
    for name in pixellib.__all__:
        assert getattr(pixellib, name) is not None
    assert set(pixellib.__all__) <= set(dir(pixellib))
    with pytest.raises(AttributeError, match="'pixellib' has no attribute 'nothing'"):
        pixellib.nothing  # noqa: B018


def test_type_checkers_see_the_same_names_as_users():
    """The imports of __init__.py that never run must name what __getattr__ finds."""
    source = inspect.getsource(pixellib)
    block = source[source.index("if TYPE_CHECKING:") : source.index("__version__")].replace(
        "if TYPE_CHECKING:", "if True:"
    )
    seen = {}
    exec(block, seen)
    names = seen.keys() - {"__builtins__"}
    assert names == set(pixellib.__all__)
    assert all(seen[name] is getattr(pixellib, name) for name in names)
    assert (Path(pixellib.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("package", ["likelihoods", "models"])
def test_nothing_public_is_left_out(package):
    assert set(importlib.import_module(f"pixellib.{package}").__all__) <= set(pixellib.__all__)


@pytest.mark.parametrize("name", pixellib.__all__)
def test_every_public_name_is_documented(name):
    value = getattr(pixellib, name)  # a class does not inherit its documentation
    assert len((vars(value)["__doc__"] or "" if isinstance(value, type) else inspect.getdoc(value)).split()) > 3


def test_the_version_is_stated_once():
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    assert pixellib.__version__.count(".") == 2
