"""Files that appear whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def write_atomically(path: Path | str, write: Callable[[Path], Any]) -> Path:
    """Call write(temporary path) in the folder of `path` (made if missing), then rename the result to `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(path: Path | str, content: Any) -> Path:
    """Write content as indented JSON, atomically."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path | str, keys: Iterable[str] = ()) -> dict[str, Any]:
    """The JSON object in a file. RuntimeError, naming the file, where there is none, or none with all of `keys`."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RuntimeError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise RuntimeError(f"{path} holds no JSON object")
    if missing := [key for key in keys if key not in content]:
        raise RuntimeError(f"{path} lacks {', '.join(missing)}")
    return content


def replace(path: Path | str, content: bytes) -> bool:
    """Give a file its new content atomically; False, and no touch, when it has this content already."""
    path = Path(path)
    if path.is_file() and path.read_bytes() == content:
        return False
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return True
