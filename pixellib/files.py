"""Files that appear whole or not at all, and readers that say what is wrong with a file."""

import errno
import json
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

OLD = 24 * 3600  # seconds after which a temporary file counts as left behind, whoever wrote it
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: Path | str, write: Callable[[Path], Any]) -> Path:
    """Call write(temporary path), flush what it wrote to disk, and rename it to `path`.

    path: its folder is made if missing; a symbolic link is written through. The temporary file lies beside the file to
    be written, and is removed if anything fails. Those of writers that were killed are removed by the next one.
    Returns the path. Raises FileExistsError where the path is a folder, a pipe or a device, ValueError where it is not
    valid UTF-8, and OSError that names the path where the disk is full.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_atomically(f"{folder}/new/a.txt", lambda temporary: temporary.write_text("whole"))
    ...     path.read_text(), os.listdir(path.parent)
    ('whole', ['a.txt'])
    """
    path = check_path(path)
    if (kind := kind_of_file(path)) not in ("file", "missing"):
        raise FileExistsError(f"{path} is a {kind}, not a file: nothing was written")
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    name = f".{target.name}.{os.getpid()}@{socket.gethostname()}.{secrets.token_hex(4)}.tmp"
    temporary = target.parent / name
    temporary.touch(exist_ok=False)  # with the rights that the umask leaves
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except Exception as error:
        if (full := _no_space(error)) is not None:
            raise OSError(full.errno, os.strerror(full.errno), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(path: Path | str, content: Any) -> Path:
    """Write content as indented JSON, atomically. ValueError for NaN and infinity, which JSON does not have.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     read_json(write_json(f"{folder}/a.json", {"seed": 0}), keys=["seed"])
    {'seed': 0}
    """
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path | str, keys: Iterable[str] = ()) -> dict[str, Any]:
    """The JSON object in a file, in which `keys` must be present.

    FileNotFoundError if there is no file; RuntimeError, naming the file and what is wrong, if it is not valid JSON, not
    an object, or lacks one of the keys.
    """
    path = check_path(path)
    if (kind := kind_of_file(path)) == "missing":
        raise FileNotFoundError(f"there is no file {path}")
    if kind != "file":
        raise RuntimeError(f"{path} is a {kind}, not a file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RuntimeError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise RuntimeError(f"{path} holds {type(content).__name__}, not a JSON object")
    if missing := [key for key in keys if key not in content]:
        raise RuntimeError(f"{path} is incomplete: it has no {', '.join(missing)}")
    return content


def replace(path: Path | str, content: bytes) -> bool:
    """Give a file new content, atomically. Returns False, leaving the file alone, if that is its content already.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     replace(f"{folder}/a", b"one"), replace(f"{folder}/a", b"one")
    (True, False)
    """
    path = Path(path)
    if kind_of_file(path) == "file" and path.read_bytes() == content:
        return False
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return True


@contextmanager
def locked(path: Path | str, busy: str | None = None) -> Iterator[None]:
    """Hold a lock file, which the system frees when its holder dies. Its folder is made if missing.

    Where another process holds the lock: wait for it, or with `busy` raise a RuntimeError of that message.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(f"{folder}/.lock", busy="in use by another process"):
    ...     print("held")
    held
    """
    path = check_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(path, timeout=-1 if busy is None else 0).acquire()
    except Timeout:
        raise RuntimeError(busy) from None
    with lock:
        yield


def check_path(path: Path | str) -> Path:
    """The path, or ValueError if it is not valid UTF-8: not every writer and reader can handle such a name.

    >>> check_path("a/b").name
    'b'
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"the path {str(path)!a} is not valid UTF-8") from None
    return Path(path)


def kind_of_file(path: Path | str) -> str:
    """What lies at a path, links followed: "file", "folder", "pipe", "socket", "device", or "missing".

    To be asked before opening what somebody else put there: opening a pipe waits for a writer, perhaps for ever.

    >>> kind_of_file("/dev/null")
    'device'
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def _remove_leftovers(target: Path) -> None:
    """Remove temporary files for `target` whose writer is dead, or that are a day old."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)@(.+)\.\w+\.tmp")
    with os.scandir(target.parent) as entries:
        found = [(entry, match) for entry in entries if (match := pattern.fullmatch(entry.name))]
    for entry, match in found:
        with suppress(FileNotFoundError):
            dead = match[2] == socket.gethostname() and not _is_alive(int(match[1]))
            if dead or time.time() - entry.stat().st_mtime > OLD:
                os.unlink(entry.path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True


def _no_space(error: BaseException | None) -> OSError | None:
    """The error of a full disk among an error and those it followed from: torch.save hides it behind its own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return error
        error = error.__cause__ or error.__context__
    return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")
