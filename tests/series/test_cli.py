"""The command line: quick to answer, one line for what a user got wrong, and calls that say what was asked."""

import os
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from calling import call
from PIL import Image

import pixellib
from pixellib import OutOfTime, checkpoints, data, devices, files
from pixellib.models import GatedPixelCNN
from pixellib.series import cli, execute, paths, runs


def test_help_names_the_commands_and_does_not_wait_for_torch():
    code = (
        "import sys; from pixellib.series import cli\n"
        "try: cli.main(['--help'])\n"
        "finally: print('heavy:', {'torch', 'papermill', 'matplotlib', 'pandas'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "heavy: set()" in answer
    commands = (
        "runs train sample compress decompress compressed sampling-times notebook data figures publish doctor check"
    )
    for command in commands.split():
        assert f"\n  {command} " in answer


def test_python_m_pixellib_is_the_same_program():
    """What torchrun starts: `torchrun -m pixellib train NAME`."""
    answer = subprocess.run([sys.executable, "-m", "pixellib", "--help"], capture_output=True, text=True)
    assert answer.returncode == 0 and "Usage: pixellib" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "iwae-k7"], "unknown run 'iwae-k7'; there are iwae-k"),
        (["train", "iwae-k1", "--profile", "fast"], "unknown profile 'fast'"),
        (["sample", "iwae-k7", "--out", "x.png"], "unknown run 'iwae-k7'"),
        (["notebook", "99_none"], "unknown notebook '99_none'"),
        (["data", "mnits"], "mnits"),
        (
            ["notebook", "01_iwae", "--profile", "quick", "-p", "profile=paper"],
            "'profile' of notebook 01_iwae was given",
        ),
        (["figures", "--profile", "fast"], "unknown profile 'fast'"),
    ],
)
def test_what_a_user_got_wrong_is_one_line_with_the_valid_choices(capsys, arguments, reason):
    code, out, err = call(capsys, *arguments)
    assert code == 1 and out == ""
    assert err.startswith("pixellib: ") and err.count("\n") == 1
    assert reason in err and any(word in err for word in ("iwae-k5", "quick", "01_", "mnist"))


HUGE = "9" * 20_000


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--num", str(10**30), "--num must be from 1 to 10,000"),
        ("--num", "0", "--num must be from 1 to 10,000"),
        ("--seed", HUGE, "--seed must be from 0 to 4,294,967,295"),
        ("--seed", str(2**63), "--seed must be from 0 to 4,294,967,295"),
        ("--seed", "-1", "--seed must be from 0 to 4,294,967,295"),
        ("--label", HUGE, "--label must be from 0 to 10,000"),
        ("--device", "meta", "device 'meta' is not available"),
        ("--out", "\udcff.png", "is not valid UTF-8"),
        ("--out", "/dev/null", "--out /dev/null is a device, not a file"),
        ("--out", "/", "--out / is a folder, not a file"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_in_one_line(capsys, monkeypatch, tmp_path, option, value, reason):
    monkeypatch.setattr(GatedPixelCNN, "sample", None)  # nothing is drawn
    arguments = {"--out": str(tmp_path / "grid.png"), option: value}
    code, _, err = call(capsys, "sample", "gated-mnist-class", *(word for pair in arguments.items() for word in pair))
    assert code == 1 and err.startswith("pixellib: ") and err.count("\n") == 1
    assert reason in err and len(err) < 250


def test_what_is_no_number_is_a_usage_error(capsys):
    code, _, err = call(capsys, "train", "iwae-k1", "--seed", HUGE + "x")
    assert code == 2 and "it must be a whole number" in err and HUGE not in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU that is not there")
def test_a_device_that_is_not_there_is_named(capsys):
    code, _, err = call(capsys, "train", "iwae-k1", "--profile", "quick", "--device", "cuda")
    assert code == 1 and "'cuda' is not available here" in err and "cpu" in err


def test_errors_of_the_system_are_one_line_with_the_file(capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "build/x")

    monkeypatch.setattr(execute, "execute", full)
    assert call(capsys, "notebook", "01_iwae") == (1, "", "pixellib: build/x: No space left on device\n")


def test_a_message_of_several_lines_becomes_one(capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError("first\n   second")

    monkeypatch.setattr(execute, "execute", fail)
    assert call(capsys, "notebook", "01_iwae")[2] == "pixellib: first second\n"


def test_a_mistake_of_ours_is_not_hidden(capsys, monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(execute, "execute", fail)
    with pytest.raises(AssertionError):
        cli.main(["notebook", "01_iwae"])
    monkeypatch.setenv("PIXELLIB_TRACEBACK", "1")
    with pytest.raises(ValueError, match="unknown run"):
        cli.main(["train", "iwae-k7"])


def test_nothing_is_trained_to_draw_from_it_and_a_grid_is_a_png(capsys):
    run = "pixelcnnpp-mnist-softmax-part1"  # whose model does not ship
    code, _, err = call(capsys, "sample", run, "--out", "x.png")
    assert code == 1 and f"has no trained model here; train it with: pixellib train {run}\n" in err
    code, _, err = call(capsys, "sample", "iwae-k1", "--profile", "paper", "--out", "x.png")
    assert code == 1 and "pixellib train iwae-k1 --profile paper\n" in err
    code, _, err = call(capsys, "sample", "iwae-k1", "--out", "x.jpg")
    assert code == 1 and "--out x.jpg must end in .png" in err
    code, _, err = call(capsys, "sample", "iwae-k1", "--out", "nowhere/x.png")
    assert code == 1 and "there is no folder nowhere" in err


@pytest.mark.parametrize("command", ["sample", "compress", "decompress"])
def test_the_help_says_that_the_profile_is_that_of_the_training(capsys, command):
    assert "That of the run's training" in " ".join(call(capsys, command, "--help")[1].split())


def test_the_version_is_printed(capsys):
    assert call(capsys, "--version")[:2] == (0, f"{pixellib.__version__}\n")


def test_usage_errors_end_with_two(capsys):
    code, _, err = call(capsys, "train")
    assert code == 2 and "Missing argument" in err


def test_runs_and_data_are_listed(capsys):
    code, out, _ = call(capsys, "runs")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["run", *runs.names()], (
        "a head, and the runs"
    )
    code, out, _ = call(capsys, "runs", "--shipped")
    shipped = {path.stem for path in paths.CHECKPOINTS.glob("*.safetensors")}
    names = {line.split()[0] for line in out.splitlines()[1:]}
    assert code == 0 and names == shipped and len(shipped) < len(runs.names())
    code, out, _ = call(capsys, "data")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == list(data.NAMES)


def test_data_fetches_every_split(capsys):
    code, out, _ = call(capsys, "data", "mnist")
    assert code == 0
    assert out.splitlines() == [
        "mnist train: (50000, 1, 28, 28) uint8",
        "mnist validation: (10000, 1, 28, 28) uint8",
        "mnist test: (10000, 1, 28, 28) uint8",
    ]


RESULT = {
    "split": "test", "kind": "lower bound", "num_samples": 5000,
    "log_likelihood": -85.5, "standard_error": 0.25, "bits_per_dim": 0.157,
}  # fmt: skip


NO_MORE = {"compile": False, "until": None}


def test_train_passes_on_what_was_asked_and_reports_once(capsys, monkeypatch):
    asked = []

    def train(self, profile, **settings):
        asked.append((self.name, profile, settings))
        return {"results": [RESULT]}

    monkeypatch.setattr(runs.Run, "train", train)
    _, out, _ = call(capsys, "train", "iwae-k5", "--profile", "quick", "--device", "cpu", "--seed", "3", "--fresh")
    assert asked == [("iwae-k5", "quick", {"device": "cpu", "seed": 3, "resume": False, **NO_MORE})]
    folder = paths.shorten(runs.get("iwae-k5").folder("quick", 3))
    assert out.splitlines() == [
        "iwae-k5 test: NLL 85.50 +- 0.25 nats, 0.157 bits per dimension (lower bound of log p, M = 5,000)",
        f"iwae-k5: record and weights are in {folder}",
    ]
    monkeypatch.setattr(devices, "process_group", lambda: nullcontext(1))  # torchrun's second process is silent
    assert call(capsys, "train", "iwae-k5") == (0, "", "")
    assert asked[1] == ("iwae-k5", "reference", {"device": "auto", "seed": 0, "resume": True, **NO_MORE})


def test_train_says_that_a_run_is_trained_already_and_where_it_lies(tiny, capsys):
    first = call(capsys, "train", "tiny", "--profile", "quick", "--device", "cpu")[1]
    assert "already trained" not in first
    again = call(capsys, "train", "tiny", "--profile", "quick", "--device", "cpu")[1]
    assert again == "tiny: already trained (6 steps); --fresh trains anew\n" + first
    assert first.endswith(f"tiny: record and weights are in {tiny.folder('quick')}\n")
    assert "already trained" not in call(capsys, "train", "tiny", "--profile", "quick", "--device", "cpu", "--fresh")[1]


def test_train_takes_several_runs_until_a_time_of_day(capsys, monkeypatch):
    asked = []

    def train(self, profile, until, **settings):
        asked.append((self.name, until))
        if self.name == "iwae-k5":
            raise OutOfTime("stopped after 7 of 9 steps")
        return {"results": [RESULT]}

    monkeypatch.setattr(runs.Run, "train", train)
    code, _, err = call(capsys, "train", "iwae-k1", "iwae-k5", "iwae-k50", "--until", "06:30")
    assert code == 75 and err == "iwae-k5: stopped after 7 of 9 steps\n", "a script can tell that it is not done"
    assert [name for name, _ in asked] == ["iwae-k1", "iwae-k5"], "no more runs once the time is over"
    until = asked[0][1]
    assert time.strftime("%H:%M:%S", time.localtime(until)) == "06:30:00" and 0 < until - time.time() <= 86400
    code, _, err = call(capsys, "train", "iwae-k1", "--until", "24:30")
    assert code == 2 and "it must be a time such as 07:30" in err


def test_notebook_passes_on_what_was_asked(capsys, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(execute, "execute", lambda *arguments: asked.append(arguments))
    output = tmp_path / "x.ipynb"
    call(capsys, "notebook", "01_iwae", "--profile", "quick", "-p", "seed=1", "-p", "retrain=True",
         "--output", str(output))  # fmt: skip
    call(capsys, "notebook", "01_iwae")
    assert asked == [("01_iwae", ["profile=quick", "seed=1", "retrain=True"], output), ("01_iwae", [], None)]


def untrained(self, profile, **_):
    torch.manual_seed(0)
    return self.build(profile).eval()


def test_sample_writes_one_grid_that_its_seed_decides(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(runs.Run, "load_finished", untrained)

    def sample(seed):
        out = tmp_path / "grid.png"
        arguments = ("sample", "iwae-k1", "--num", "6", "--out", str(out), "--seed", str(seed))
        assert call(capsys, *arguments)[0] == 0
        return np.asarray(Image.open(out))

    first = sample(0)
    assert first.shape == (3 * 29 + 1, 2 * 29 + 1, 3), "3 rows of 2 images, 1 pixel apart"
    assert (sample(0) == first).all() and (sample(1) != first).any()


def test_a_shipped_run_that_was_trained_again_says_which_weights_are_used(capsys, monkeypatch, tmp_path):
    """Otherwise somebody would look at samples of the shipped model and take them for their own."""
    monkeypatch.setattr(paths, "WORK", tmp_path)
    run, drawn = runs.get("iwae-k1"), []
    own = run.trained_path("reference")
    header = {"name": run.name, "profile": "reference", "identity": run.identity()}
    checkpoints.save(own, run.build().state_dict(), header)
    files.write_json(own.with_suffix(".json"), {"identity": run.identity(), "steps": 1, "results": []})
    monkeypatch.setattr(runs.Run, "train", lambda run, profile, **_: {"results": []})
    code, out, _ = call(capsys, "train", "iwae-k1")
    assert code == 0 and f"the shipped weights stay in use; to draw with yours, add --weights {own}" in out
    assert "shipped, here" in next(line for line in call(capsys, "runs")[1].splitlines() if line.startswith("iwae-k1 "))
    for more in ([], ["--weights", str(own)]):
        assert call(capsys, "sample", "iwae-k1", "--num", "1", "--out", str(tmp_path / "x.png"), *more)[0] == 0
        drawn.append((tmp_path / "x.png").read_bytes())
    assert drawn[0] != drawn[1]
    code, _, err = call(capsys, "sample", "iwae-k5", "--out", str(tmp_path / "x.png"), "--weights", str(own))
    assert code == 1 and "does not fit run iwae-k5" in err


def test_a_notebook_can_be_named_by_its_file(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(execute, "execute", lambda name, *_: asked.append(name))
    for name in ("01_iwae", "01_iwae.ipynb", "notebooks/01_iwae.ipynb"):
        assert call(capsys, "notebook", name)[0] == 0
    assert asked == ["01_iwae"] * 3


def test_sample_draws_all_classes_or_the_one_that_is_asked_for(capsys, monkeypatch, tmp_path):
    asked, out = [], str(tmp_path / "grid.png")
    monkeypatch.setattr(runs.Run, "load_finished", untrained)
    monkeypatch.setattr(GatedPixelCNN, "sample", lambda model, num, *, condition, generator: (
        asked.append(condition.tolist()), torch.zeros(num, 1, 28, 28, dtype=torch.uint8))[1])  # fmt: skip
    for more in ([], ["--label", "7"]):
        assert call(capsys, "sample", "gated-mnist-class", "--num", "12", "--out", out, *more)[0] == 0
    assert asked == [[*range(10), 0, 1], [7] * 12]
    code, _, complaint = call(capsys, "sample", "iwae-k1", "--out", out, "--label", "7")
    assert code == 1 and "run iwae-k1 has no classes to choose from" in complaint
    code, _, complaint = call(capsys, "sample", "gated-mnist-class", "--out", out, "--label", "10")
    assert code == 1 and "--label must be from 0 to 9: run gated-mnist-class has 10 classes" in complaint


@pytest.mark.parametrize("exists", [True, False])
def test_sample_writes_through_a_link(capsys, monkeypatch, tmp_path, exists):
    monkeypatch.setattr(runs.Run, "load_finished", untrained)
    link, target = tmp_path / "link.png", tmp_path / "elsewhere" / "target.png"
    target.parent.mkdir()
    link.symlink_to(target)
    if exists:
        target.write_bytes(b"an older picture")
    assert call(capsys, "sample", "iwae-k1", "--num", "1", "--out", str(link))[0] == 0
    assert link.is_symlink() and Image.open(target).format == "PNG"


def test_sample_does_not_replace_a_pipe(capsys, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code, _, err = call(capsys, "sample", "iwae-k1", "--out", str(pipe))
    assert code == 1 and f"--out {pipe} is a pipe, not a file" in err and pipe.is_fifo()


def test_sample_imports_no_papermill(tmp_path):
    code = (
        "import sys\n"
        "from pixellib.series import cli, runs\n"
        "runs.Run.load_finished = lambda run, profile, **_: run.build(profile).eval()\n"
        f"try: cli.main(['sample', 'iwae-k1', '--num', '1', '--out', {str(tmp_path / 'x.png')!r}])\n"
        "finally: print('heavy:', {'papermill', 'matplotlib', 'pandas'} & set(sys.modules))"
    )
    assert "heavy: set()" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
