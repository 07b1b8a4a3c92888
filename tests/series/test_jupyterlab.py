"""JupyterLab as a reader uses it: it starts on this machine alone, asks for a token, and runs a notebook."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import browser
import pytest

from pixellib.series import execute, paths

pytestmark = browser.needed
NAME = "03_logistic_vae"


def answers(port: int) -> bool:
    """Whether a server is at work there: it prints its address a little before."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=10) as answer:  # needs no token
            return "version" in json.load(answer)
    except OSError:
        return False


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address, with its token, of a server on a copy of a notebook that is set to `quick`."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    shutil.copy(paths.ROOT / "README.md", folder)
    notebook = json.loads(execute.source(NAME).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            cell["source"] = "".join(cell["source"]).replace('profile = "reference"', 'profile = "quick"')
        if cell["cell_type"] == "code":
            cell["outputs"] = []
    (folder / "notebooks" / f"{NAME}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    with socket.socket() as probe:  # two servers that start at the same time may both take the usual port for free
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            command, cwd=folder, stderr=log, start_new_session=True,
            env=os.environ | {
                "PYTHONPATH": str(paths.ROOT), "JUPYTER_CONFIG_DIR": str(folder / "config"),
                "JUPYTER_CONFIG_PATH": str(paths.ROOT / "jupyter"),  # as `make lab` has it
            },
        )  # fmt: skip
    try:
        for _ in range(600):
            found = re.search(r"http://127\.0\.0\.1:(\d+)/lab\S*token=\w+", (folder / "log").read_text())
            if (found and answers(int(found[1]))) or server.poll() is not None:
                break
            time.sleep(0.1)
        assert server.poll() is None and found and answers(int(found[1])), (folder / "log").read_text()[-2000:]
        yield found[0]
        assert server.poll() is None, f"the server died: {(folder / 'log').read_text()[-2000:]}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=60)
        except subprocess.TimeoutExpired:  # a server may wait long for a request that it sent
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_who_has_no_token_is_refused(lab):
    address = lab.partition("/lab")[0]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{address}/api/contents")


def test_it_saves_nothing_by_itself(lab):
    """A notebook that somebody only runs would be saved with other outputs, and the committed ones be lost."""
    address, token = lab.partition("/lab")[0], re.search(r"token=\w+", lab)[0]
    with urllib.request.urlopen(
        f"{address}/lab/api/settings/@jupyterlab/docmanager-extension:plugin?{token}"
    ) as answer:
        assert json.load(answer)["schema"]["properties"]["autosave"]["default"] is False


def test_it_opens_at_the_list_of_notebooks(lab):
    with browser.browser() as chromium:
        page = chromium.new_page()
        page.goto(lab)
        link = page.locator(".jp-MarkdownViewer a", has_text="03 · ")
        link.wait_for(timeout=90_000)
        link.click()
        page.locator(".jp-Notebook .jp-MarkdownCell h1").first.wait_for(timeout=60_000)


def test_all_cells_of_a_notebook_run_and_a_figure_appears(lab):
    address, token = lab.partition("/lab")[0], re.search(r"token=\w+", lab)[0]
    with browser.browser() as chromium:
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{address}/lab/tree/notebooks/{NAME}.ipynb?{token}")
        page.locator(".jp-Notebook .jp-MarkdownCell h1").first.wait_for(timeout=90_000)
        page.locator(".jp-Toolbar-kernelName:visible", has_text="Python 3").first.wait_for(timeout=60_000)
        page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
        page.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()
        page.locator(".jp-Notebook .jp-OutputArea img").first.wait_for(state="attached", timeout=240_000)
        assert page.locator(".jp-Notebook .jp-OutputArea img").first.evaluate("i => i.naturalWidth") > 0
        assert page.locator(".jp-OutputArea-output[data-mime-type*='error']").count() == 0
