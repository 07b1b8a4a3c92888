"""Files: written whole or not at all, wherever the path leads; broken ones are named, with what is wrong."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pixellib import checkpoints, files

ROOT = Path(__file__).parents[2]


def write(path, content="new"):
    return files.write_atomically(path, lambda temporary: temporary.write_text(content))


def in_another_process(program: str, *arguments) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], env=environment)


def test_a_symbolic_link_is_written_through(tmp_path):
    """The link stays, and whoever reads the file under its own name sees the new content."""
    file, link, chain = tmp_path / "real" / "file", tmp_path / "link", tmp_path / "chain"
    file.parent.mkdir()
    file.write_text("old")
    link.symlink_to(file)
    chain.symlink_to("link")
    for path in (link, chain):
        assert write(path, path.name) == path
        assert path.is_symlink() and file.read_text() == path.name and not file.is_symlink()
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "not yet")
    write(dangling)
    assert (tmp_path / "not yet").read_text() == "new" and dangling.is_symlink()
    assert {p.name for p in tmp_path.iterdir()} == {"real", "link", "chain", "dangling", "not yet"}


def test_what_is_no_file_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for path, kind in (("folder", "folder"), ("pipe", "pipe"), ("link", "device"), ("/dev/null", "device")):
        written = []
        with pytest.raises(FileExistsError, match=f"{path} is a {kind}, not a file: nothing was written"):
            files.write_atomically(tmp_path / path, written.append)
        assert not written
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "pipe", "link"}
    assert files.kind_of_file("/dev/null") == "device"


def test_rights_are_those_of_the_umask_or_of_the_file_that_is_replaced(tmp_path):
    path, before = tmp_path / "a", os.umask(0o077)
    try:
        files.replace(path, b"one")
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o664)
        files.replace(path, b"two")
        assert path.stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


def test_a_path_that_is_not_utf8_is_refused_in_one_line(tmp_path):
    path = tmp_path / os.fsdecode(b"bad\xff")
    for function in (write, files.read_json, checkpoints.load, checkpoints.read_header, checkpoints.load_resume):
        with pytest.raises(ValueError, match=r"bad\\udcff' is not valid UTF-8") as error:
            function(path)
        str(error.value).encode()


def test_a_full_disk_names_the_path_in_one_line(tmp_path):
    """torch.save and safetensors have messages of their own for it, which say neither."""
    path = tmp_path / "file"
    write(path, "old")
    state = {"identity": {"seed": 0}, "weights": torch.randn(50_000)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for function in (
            lambda: checkpoints.save_resume(path, state),
            lambda: checkpoints.save(path, {"weights": torch.randn(50_000)}, {}),
            lambda: write(path, "x" * 200_000),
        ):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
            with pytest.raises(OSError) as error:
                function()
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert error.value.filename == str(path) and error.value.strerror == "File too large"
            assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_no_space_is_recognised_behind_another_error(tmp_path):
    def fail(temporary):
        try:
            raise OSError(28, "No space left on device")
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")

    with pytest.raises(OSError, match=rf"No space left on device: '{re.escape(str(tmp_path / 'a'))}'"):
        files.write_atomically(tmp_path / "a", fail)


KILLED_WRITER = """
import os, signal, sys
from pixellib import files
def write(temporary):
    temporary.write_text("half")
    print(temporary, file=open(sys.argv[2], "w"), flush=True)
    if sys.argv[3] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
files.write_atomically(sys.argv[1], write)
"""


def test_what_a_killed_writer_left_is_removed_by_the_next_and_no_more(tmp_path):
    """Not what a living process is writing, nor what belongs to another file."""
    path, note = tmp_path / "folder" / "a", tmp_path / "note"
    in_another_process(KILLED_WRITER, path, note, "die").wait(60)
    left = Path(note.read_text().strip())
    assert left.read_text() == "half"
    write(path.with_name("b"))
    assert left.exists(), "another file's"
    note.unlink()
    alive = in_another_process(KILLED_WRITER, path, note, "wait")
    try:
        while not (note.exists() and note.read_text()):
            time.sleep(0.01)
        assert not left.exists(), "its writer was dead"
        write(path)
        in_use = Path(note.read_text().strip())
        assert in_use.exists(), "its writer is alive"
        os.utime(in_use, (0, 0))
        write(path)
        assert not in_use.exists(), "it is older than a day"
    finally:
        alive.kill()
        alive.wait()


def test_what_another_machine_is_writing_is_left_alone(tmp_path):
    """On a shared disk: whether its process lives cannot be note from here."""
    theirs = tmp_path / f".a.999999999@not-{socket.gethostname()}.x.tmp"
    ours = tmp_path / f".a.999999999@{socket.gethostname()}.x.tmp"
    theirs.touch(), ours.touch()
    write(tmp_path / "a")
    assert theirs.exists() and not ours.exists()


def test_json_comes_back(tmp_path):
    content = {"name": "π", "results": [1.5, None, {"a": []}]}
    assert files.read_json(files.write_json(tmp_path / "a.json", content), keys=("name", "results")) == content


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not valid JSON: "),
        (b'{"name": 1', "is not valid JSON: "),
        (b'{"name": NaN}', "is not valid JSON: NaN is not a JSON value"),
        (b'{"name": "\xff"}', "is not valid JSON: "),
        (b"[" * 100_000, "is not valid JSON: "),
        (b'{"name": ' + b"9" * 5000 + b"}", "is not valid JSON: "),
        (b"[1]", "holds list, not a JSON object"),
        (b"null", "holds NoneType, not a JSON object"),
        (b"7", "holds int, not a JSON object"),
        (b'{"name": 1}', "is incomplete: it has no results, seed"),
    ],
)
def test_a_broken_json_file_is_named_with_what_is_wrong(tmp_path, content, complaint):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(RuntimeError, match=rf"record\.json {complaint}") as error:
        files.read_json(path, keys=("name", "results", "seed"))
    assert "\n" not in str(error.value)


def test_json_is_read_from_files_only(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        files.read_json(tmp_path / "none.json")
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path, "folder"), (tmp_path / "pipe", "pipe")):
        with pytest.raises(RuntimeError, match=f"is a {kind}, not a file"):
            files.read_json(path)


def test_replace_leaves_a_file_alone_that_has_this_content(tmp_path):
    path = tmp_path / "a"
    assert files.replace(path, b"one")
    before = path.stat()
    assert not files.replace(path, b"one")
    after = path.stat()  # whose time of access may be another, as it was read
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files.replace(path, b"two") and path.read_bytes() == b"two"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="is a pipe"):
        files.replace(tmp_path / "pipe", b"")


def test_a_lock_is_held_by_one_and_freed_with_its_holder(tmp_path):
    with files.locked(tmp_path / "new" / ".lock", "busy"):
        program = (
            f"from pixellib import files\nwith files.locked({str(tmp_path / 'new' / '.lock')!r}, 'it is busy'): pass"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert ended.stderr.splitlines()[-1] == "RuntimeError: it is busy"
    assert in_another_process(program).wait(60) == 0
    with pytest.raises(KeyError), files.locked(tmp_path / ".lock"):
        raise KeyError
    with files.locked(tmp_path / ".lock", "busy"):
        pass


def test_content_that_json_does_not_have_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())
    assert json.loads(files.write_json(tmp_path / "a.json", [1]).read_text()) == [1]
