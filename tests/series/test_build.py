"""`make figures`: complete or continued, and never taken for complete when it is not."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from throwaway import FIGURE, add_notebook, command, descendants, kill, pixellib, project, wait_for

from pixellib.series import execute


@pytest.fixture
def root(tmp_path):
    return project(tmp_path / "a clone", **{"01_a": ["print(profile)", FIGURE], "02_b": [FIGURE]})


@pytest.fixture
def single(tmp_path):
    """The same with one notebook, where one is enough."""
    return project(tmp_path / "a clone", **{"01_a": ["print(profile)", FIGURE]})


def stamps(folder):
    """Every file below a folder and when it was written; locks and logs of the build itself aside."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".lock", ".log")]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}


def change(path):
    with open(path, "a") as file:
        file.write("\n# changed")


def executed(build):
    """The notebooks that a build's output says were run."""
    return {line.split(":")[0] for line in build.stdout.splitlines() if ": done in" in line}


def test_a_build_makes_all_and_the_next_one_nothing(root):
    record = root / "figures" / "results" / "iwae-k1.json"
    record.write_text("{}")
    committed = stamps(root / "figures")
    first = pixellib(root, "figures", "--jobs", "2")
    assert first.returncode == 0, first.stdout
    assert executed(first) == {"01_a", "02_b"}
    assert first.stdout.startswith("a machine for reference\n"), "what the machine does is said first"
    assert "01_a: cell 3/4" in first.stdout, "progress names the notebook and the cell"
    assert "(2 of 2 are there)" in first.stdout, "and how many notebooks are done"
    built = stamps(root / "build" / "reference")
    for name in ("01_a", "02_b"):
        for file in (f"notebooks/{name}.ipynb", f"figures/{name}/{name}_dot.png", f"site/{name}.html"):
            assert file in built
        assert (root / "figures" / f"{name}_dot.png").exists(), "a good reference build promotes its figures"
    assert committed.items() <= stamps(root / "figures").items(), "what was committed stays untouched"
    index = (root / "build" / "reference" / "site" / "index.html").read_text()
    assert 'href="01_a.html">About 01_a</a>' in index and "How tight is this?" in index

    figures = stamps(root / "figures")
    second = pixellib(root, "figures", "--jobs", "2")
    assert second.returncode == 0 and executed(second) == set()
    assert stamps(root / "build" / "reference") == built and stamps(root / "figures") == figures

    add_notebook(root, "02_b", [FIGURE, "print('more')"])
    third = pixellib(root, "figures", "--jobs", "2")
    assert executed(third) == {"02_b"}
    assert stamps(root / "figures") == figures, "figures with the same bytes are not touched"

    change(root / "pixellib" / "series" / "cli.py")
    record.write_text('{"nats": 1}')
    plan = snakemake(root, "--cores", "1", "--rerun-triggers", "mtime")
    assert "Nothing to be done" in plan, "notebooks depend neither on the machinery nor on records they do not name"
    change(root / "pixellib" / "devices.py")
    plan = snakemake(root, "--cores", "1", "--rerun-triggers", "mtime")
    assert re.search(r"^notebook +2$", plan, flags=re.MULTILINE), "the library is an input of every notebook"


def test_a_plan_is_no_build_and_promotes_nothing(single):
    """See test_publish.py for other options: an exit code of 0 says little."""
    left_over = single / "build" / "reference" / "notebooks" / "01_a.ipynb"
    left_over.parent.mkdir(parents=True)
    shutil.copy(single / "notebooks" / "01_a.ipynb", left_over)
    build = pixellib(single, "figures", "--", "--dry-run")
    assert build.returncode == 0, build.stdout
    assert "Job stats:" in build.stdout, "the plan is shown"
    assert "build complete" not in build.stdout and "nothing was promoted" in build.stdout
    assert not list((single / "figures").glob("*.png"))


def snakemake(root, *options):
    """What snakemake says that it would do."""
    plan = command(root, "none") | {"args": [sys.executable, "-m", "snakemake", "--dry-run", *options]}
    return subprocess.run(**plan, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True).stdout


def test_a_failed_notebook_stops_no_other_and_is_named_with_its_log(root):
    add_notebook(root, "01_a", [FIGURE, "1 / 0"])
    build = pixellib(root, "figures", "--jobs", "1")
    assert build.returncode == 1
    assert executed(build) == {"02_b"}
    summary = [line for line in build.stdout.splitlines() if line.startswith("  ")][-1]
    assert "notebook 01_a failed in cell 4/4: ZeroDivisionError: division by zero" in summary
    log = root / "build" / "reference" / "logs" / "01_a.log"
    assert f"[log: {log.relative_to(root)}]" in summary and "Traceback" in log.read_text()
    assert build.stdout.splitlines()[-1].startswith("pixellib: the reference build is not complete")
    assert not list((root / "figures").glob("*.png")), "only a complete success promotes"

    add_notebook(root, "01_a", [FIGURE, "1 / 1"])
    build = pixellib(root, "figures", "--jobs", "1")
    assert build.returncode == 0 and executed(build) == {"01_a"}
    assert len(list((root / "figures").glob("*.png"))) == 2


def test_an_error_of_the_graph_itself_is_shown(single):
    (single / "pixellib" / "series" / "site" / "render.py").unlink()
    build = pixellib(single, "figures")
    assert build.returncode == 1 and "site/render.py" in build.stdout


def test_quick_and_reference_do_not_touch_each_other(single):
    reference = single / "build" / "reference" / "figures" / "01_a" / "01_a_dot.png"
    reference.parent.mkdir(parents=True)
    reference.write_bytes(b"of the reference profile")
    before = stamps(single / "build" / "reference")
    quick = pixellib(single, "figures", "--profile", "quick")
    assert quick.returncode == 0, quick.stdout
    assert stamps(single / "build" / "reference") == before
    assert not list((single / "figures").glob("*.png")), "only the reference profile promotes"
    notebook = nbformat.read(single / "build" / "quick" / "notebooks" / "01_a.ipynb", as_version=4)
    assert notebook.cells[4].outputs[0].text == "quick\n"
    assert (single / "build" / "quick" / "figures" / "01_a" / "01_a_dot.png").exists()


def test_threads_are_shared_out(root):
    """Two notebooks on six cores get three threads each; the number decides how sums are split, so it is fixed."""
    for name in ("01_a", "02_b"):
        add_notebook(root, name, ["import os; print(os.environ['OMP_NUM_THREADS'])"])
    assert pixellib(root, "figures", "--jobs", "6").returncode == 0
    for name in ("01_a", "02_b"):
        notebook = nbformat.read(root / "build" / "reference" / "notebooks" / f"{name}.ipynb", as_version=4)
        assert notebook.cells[3].outputs[0].text == "3\n"


def test_an_unknown_profile_is_refused(single):
    build = pixellib(single, "figures", "--profile", "fast")
    assert build.returncode == 1
    assert build.stdout == "pixellib: unknown profile 'fast'; choose from: quick, reference, paper\n"


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.fixture
def half_way(root):
    """A build with one notebook done, the other in its second cell, a figure written, until `go` exists."""
    pause = f"import os, time\nwhile not os.path.exists({str(root / 'go')!r}):\n    time.sleep(0.05)"
    add_notebook(root, "02_b", [FIGURE, pause, "print('on')"])
    options = command(root, "figures", "--jobs", "2") | {
        "start_new_session": True,  # so that Ctrl-C can be played on it
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in the background
    }
    build = subprocess.Popen(**options, stdout=subprocess.DEVNULL)
    reference = root / "build" / "reference"
    page, figure = reference / "site" / "01_a.html", reference / "figures" / "02_b" / "02_b_dot.png"
    try:
        wait_for(lambda: page.exists() and figure.exists(), "the build to be half-way")
        yield build
    finally:
        (root / "go").touch()
        kill(descendants(build.pid))
        build.wait()


def test_a_build_killed_half_way_is_continued_as_if_nothing_had_happened(root, half_way, tmp_path):
    killed = descendants(half_way.pid)
    assert len(killed) >= 4, "the build, snakemake, the notebook and its kernel"
    kill(killed)
    half_way.wait()
    assert not (root / "build" / "reference" / "notebooks" / "02_b.ipynb").exists()
    assert not list((root / "figures").glob("*.png"))
    (root / "go").touch()
    again = pixellib(root, "figures", "--jobs", "1")
    assert again.returncode == 0, again.stdout
    assert executed(again) == {"02_b"}, "what was finished is not done again"

    calm = tmp_path / "calm"
    shutil.copytree(root, calm, ignore=shutil.ignore_patterns("build", ".snakemake", "*.png"))
    assert pixellib(calm, "figures", "--jobs", "1").returncode == 0
    assert set(stamps(root / "build" / "reference")) == set(stamps(calm / "build" / "reference"))
    for file in calm.glob("figures/*.png"):
        assert (root / "figures" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_a_build_whose_heads_alone_were_killed_is_continued(root, half_way):
    """The job goes on without its masters; the next build must wait for it and not mix with it."""
    tree = descendants(half_way.pid)
    kill(tree[:2])
    half_way.wait()
    orphans = [pid for pid in tree[2:] if alive(pid)]
    assert orphans
    again = subprocess.Popen(**command(root, "figures", "--jobs", "1"), stdout=subprocess.PIPE)
    for line in again.stdout:
        if "another process is running this notebook" in line:
            break
    (root / "go").touch()
    rest = again.stdout.read()
    again.stdout.close()
    assert again.wait(timeout=600) == 0, rest
    assert not any(alive(pid) for pid in orphans)
    assert (root / "figures" / "02_b_dot.png").exists()
    assert executed(pixellib(root, "figures", "--jobs", "1")) == set()


@pytest.mark.slow
def test_interrupting_a_build_leaves_nothing_running_and_the_next_goes_on(root, half_way):
    tree = descendants(half_way.pid)
    os.killpg(half_way.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
    assert half_way.wait(timeout=600) != 0
    wait_for(lambda: not any(alive(pid) for pid in tree), "all of the build to end", 120)
    (root / "go").touch()
    assert executed(pixellib(root, "figures", "--jobs", "1")) == {"02_b"}


def test_a_second_build_says_that_it_waits(single):
    with execute.lock(single / "build" / "build.lock", "not reached"):
        second = subprocess.Popen(**command(single, "figures"), stderr=subprocess.PIPE)
        assert second.stderr.readline() == "a machine for reference\n", "what the machine does is said first"
        assert second.stderr.readline() == "another build is at work in this checkout; waiting for it to end\n"
        time.sleep(1)
        assert second.poll() is None
    _, messages = second.communicate(timeout=600)
    assert second.returncode == 0, messages


def test_publish_puts_outputs_into_the_sources_and_the_check_then_holds(single):
    publish = pixellib(single, "publish")
    assert publish.returncode == 0 and "published: 01_a" in publish.stdout, publish.stdout
    notebook = nbformat.read(single / "notebooks" / "01_a.ipynb", as_version=4)
    assert notebook.cells[2].outputs[0].text == "reference\n" and len(notebook.cells) == 4
    assert pixellib(single, "check").returncode == 0
    published = (single / "notebooks" / "01_a.ipynb").read_bytes()
    again = pixellib(single, "publish")
    assert executed(again) == set(), "what was published is what was built: nothing runs again"
    assert "published: nothing new" in again.stdout
    assert (single / "notebooks" / "01_a.ipynb").read_bytes() == published


def test_the_same_graph_is_accepted_for_a_cluster(single):
    plan = snakemake(single, "--executor", "slurm", "--jobs", "4")
    assert "mem_mb=4000" in plan and "runtime=60" in plan


# --- site


def test_a_page_keeps_alternative_text_and_links_to_pages(root):
    output = root / "executed" / "01_a.ipynb"
    assert pixellib(root, "notebook", "01_a", "--output", str(output)).returncode == 0
    render = [sys.executable, "-m", "pixellib.series.site.render", "page", str(root / "site"), str(output)]
    subprocess.run(**command(root) | {"args": render}, check=True)
    html = (root / "site" / "01_a.html").read_text()
    assert "alt='One \"dot\" &amp; no more'" in html or 'alt="One &quot;dot&quot; &amp; no more"' in html
    assert "No description" not in html
    assert 'href="02_b.html"' in html and "02_b.ipynb" not in html
    assert "<title>About 01_a</title>" in html
    assert str(root) not in html, "the cell that papermill added shows paths of this machine"
