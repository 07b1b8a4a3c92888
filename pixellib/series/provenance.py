"""What a training is, as plain values that can be compared and hashed, and which code it ran on."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pixellib
from pixellib import checkpoints
from pixellib.series import paths

WEIGHTS = "weights_sha256"


def plain(value: Any) -> Any:
    """The value as JSON gives it back: tuples as lists, likelihoods as the expressions that make them.

    >>> plain({"betas": (0.9, 0.999)})
    {'betas': [0.9, 0.999]}
    """
    return json.loads(json.dumps(value, default=repr))


def differences(theirs: Mapping, ours: Mapping) -> list[str]:
    """A phrase for each entry, at any depth, in which two identities differ; none if they are the same.

    The digest of an upstream's weights is compared only where both sides know it: without that checkpoint at hand
    nothing can be said about it.

    >>> differences({"seed": 0, "settings": {"steps": 5}}, {"seed": 1, "settings": {"steps": 5}})
    ['seed is 0, not 1']
    """
    theirs, ours = plain(theirs), plain(ours)
    for role in set(theirs.get("upstream") or ()) & set(ours.get("upstream") or ()):
        pair = theirs["upstream"][role], ours["upstream"][role]
        if any(upstream.get(WEIGHTS) is None for upstream in pair):
            for upstream in pair:
                upstream[WEIGHTS] = None
    return checkpoints.identity_differences(theirs, ours)


@cache
def code_version() -> str:
    """The package's version and a digest of the sources that a training runs through, for records: of the library, and
    of the heads, networks and orders of notebook 10.

    The machinery of the series is left out: what it contributes to a training stands in the identity. The sources are
    read once in a process, because it goes on with the code that it began with, even if the files are edited meanwhile.
    """
    digest = hashlib.sha256()
    for path in [*paths.library(), *sorted((paths.ROOT / "pixellib" / "series" / "permuted").glob("*.py"))]:
        digest.update(f"{path.relative_to(paths.ROOT / 'pixellib').as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return f"{pixellib.__version__}+{digest.hexdigest()[:12]}"
