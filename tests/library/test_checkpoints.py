"""Checkpoints appear whole or not at all, and whatever is wrong with one is said in one line that names it."""

import json
import math
import os
import pickle
import struct
import threading
import time
import zipfile

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixellib import checkpoints, files
from pixellib.checkpoints import CheckpointError
from pixellib.models import IWAE

TENSORS = {
    "weight": torch.linspace(-2, 2, 24).view(4, 6),
    "half": torch.tensor([0.1, 65504.0], dtype=torch.float16),
    "brain": torch.tensor([[3.0]], dtype=torch.bfloat16),
    "count": torch.tensor(2**40),
    "mask": torch.tensor([True, False]),
    "none": torch.empty(0, 3),
}
HEADER = {"name": "a-run", "options": {"num_latents": [50], "π": None}, "loss": 0.1, "history": [{"step": 1}]}


@pytest.fixture
def path(tmp_path):
    return checkpoints.save(tmp_path / "deep" / "er" / "a.safetensors", TENSORS, HEADER)


def one_line(error) -> str:
    """Its message, which has to be fit for a terminal."""
    message = str(error.value)
    assert "\n" not in message and len(message) < 400, message
    return message


def test_tensors_and_header_come_back_as_they_were(path):
    tensors, header = checkpoints.load(path)
    assert header == {**HEADER, "weights_sha256": checkpoints.weights_sha256(TENSORS)}
    assert checkpoints.read_header(path) == header
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor), name


def test_any_safetensors_reader_reads_it_and_saving_again_gives_the_same_bytes(path, tmp_path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    layout = json.loads(raw[8 : 8 + length])
    assert layout["weight"]["shape"] == [4, 6] and json.loads(layout["__metadata__"]["pixellib"])["name"] == "a-run"
    tensors, header = checkpoints.load(path)
    assert checkpoints.save(tmp_path / "b.safetensors", tensors, header).read_bytes() == raw


def test_half_precision_halves_what_floats_and_nothing_else(tmp_path):
    path = checkpoints.save(tmp_path / "half", TENSORS, {}, dtype=torch.float16)
    tensors, _ = checkpoints.load(path)
    assert {name: t.dtype for name, t in tensors.items() if t.dtype != torch.float16} == {
        "count": torch.int64,
        "mask": torch.bool,
    }
    again, _ = checkpoints.load(checkpoints.save(tmp_path / "again", tensors, {}, dtype=torch.float16))
    assert all(torch.equal(again[name], tensors[name]) for name in tensors), "a second rounding changes nothing"


def test_numbers_that_half_precision_cannot_hold_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"large holds numbers that are too large for torch\.float16"):
        checkpoints.save(tmp_path / "a", {"large": torch.tensor([1e5])}, {}, dtype=torch.float16)
    checkpoints.save(tmp_path / "a", {"infinite": torch.tensor([math.inf])}, {}, dtype=torch.float16)


def test_a_file_that_may_not_be_read_is_not_called_broken(tmp_path, monkeypatch):
    """The advice to delete it would destroy a good state."""
    path = checkpoints.save_resume(tmp_path / "resume.pt", {"identity": {}})

    def forbidden(*_):
        raise PermissionError("not yours")

    monkeypatch.setattr(checkpoints.zipfile, "ZipFile", forbidden)
    with pytest.raises(PermissionError, match="not yours"):
        checkpoints.load_resume(path)


def test_a_model_restored_from_half_precision_keeps_its_own_dtype(tmp_path):
    """What is evaluated is what is stored: weights rounded to half, computed with in float32."""
    model = IWAE(1, (4, 4), (2,), (3,))
    path = checkpoints.save(tmp_path / "m", model.state_dict(), {}, dtype=torch.float16)
    checkpoints.restore(model, checkpoints.load(path)[0], path)
    for p in model.parameters():
        assert p.dtype == torch.float32 and torch.equal(p, p.half().float())


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*none\.safetensors"):
        checkpoints.load(tmp_path / "none.safetensors")
    assert checkpoints.load_resume(tmp_path / "none.pt") is None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_no_altered_byte_goes_unseen(path, where, flip):
    """Every byte of the file is covered: lengths, names, header and contents."""
    raw = bytearray(path.read_bytes())
    raw[int(where * len(raw))] ^= flip
    altered = path.with_name("altered.safetensors")
    altered.write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"checkpoint .*altered\.safetensors (was altered|is truncated)"):
        checkpoints.load(altered)


def test_no_truncated_file_is_read(path):
    raw, cut = path.read_bytes(), path.with_name("cut.safetensors")
    for length in range(0, len(raw), 7):
        cut.write_bytes(raw[:length])
        with pytest.raises(CheckpointError, match=r"cut\.safetensors is truncated or not one of ours") as error:
            checkpoints.load(cut)
        one_line(error)


def test_foreign_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "foreign"
    for write in (
        lambda: save_file(TENSORS, path),  # no header of ours
        lambda: save_file(TENSORS, path, {"pixellib": "not json"}),
        lambda: save_file(TENSORS, path, {"pixellib": "{}"}),
        lambda: torch.save(TENSORS, path),
        lambda: path.write_text("<!doctype html><title>404</title>"),
    ):
        write()
        with pytest.raises(CheckpointError, match="foreign is truncated or not one of ours") as error:
            checkpoints.load(path)
        one_line(error)


def raw_file(path, header: bytes, content=b""):
    path.write_bytes(struct.pack("<Q", len(header)) + header + content)
    return path


@pytest.mark.parametrize("ours", ["null", "7", "[]", '"text"', "{}", '{"sha256": null}', "[" * 50_000, "not json"])
def test_a_header_that_is_no_object_is_refused_by_name(tmp_path, ours):
    path = raw_file(tmp_path / "odd", json.dumps({"__metadata__": {"pixellib": ours}}).encode())
    with pytest.raises(
        CheckpointError, match=r"checkpoint .*odd (is truncated or not one of ours|was altered)"
    ) as error:
        checkpoints.load(path)
    one_line(error)


@pytest.mark.parametrize("metadata", [b"null", b"7", b"[]", b'{"pixellib": 7}', b'{"pixellib": null}', b"{}"])
def test_metadata_of_another_form_are_refused_by_name(tmp_path, metadata):
    path = raw_file(tmp_path / "odd", b'{"__metadata__": ' + metadata + b"}")
    for read in (checkpoints.load, checkpoints.read_header):
        with pytest.raises(CheckpointError, match=r"checkpoint .*odd is truncated or not one of ours \(.+\)") as error:
            read(path)
        one_line(error)


def test_a_header_that_claims_to_be_giant_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "giant"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(CheckpointError, match="giant is truncated or not one of ours"):
        checkpoints.load(path)


def test_what_is_no_file_is_refused_instead_of_waited_for(tmp_path):
    """Opening a pipe waits for somebody who writes into it."""
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "pipe"), (tmp_path, "folder"), ("/dev/null", "device")):
        for read in (checkpoints.load, checkpoints.read_header):
            with pytest.raises(CheckpointError, match=f"checkpoint {path} is a {kind}, not a file"):
                read(path)
        with pytest.raises(CheckpointError, match=f"cannot resume from {path}: it is a {kind}, not a file"):
            checkpoints.load_resume(path)


def test_a_header_is_read_without_the_tensors(path):
    """Cheap: what is wrong with the tensors is found by `load` alone."""
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert checkpoints.read_header(path)["name"] == "a-run"
    with pytest.raises(CheckpointError, match="was altered"):
        checkpoints.load(path)
    path.write_bytes(raw[:-1])
    with pytest.raises(CheckpointError, match="is truncated or not one of ours"):
        checkpoints.read_header(path)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        checkpoints.read_header(path.with_name("none"))


def test_weights_have_a_digest_of_their_own(tmp_path):
    """It names them whatever is said about them, and stands in the header of what is stored."""
    first = checkpoints.save(tmp_path / "a", TENSORS, {"name": "a"})
    second = checkpoints.save(tmp_path / "b", TENSORS, {"name": "b"})
    digest = checkpoints.weights_sha256(TENSORS)
    assert [checkpoints.read_header(path)["weights_sha256"] for path in (first, second)] == [digest, digest]
    changed = {**TENSORS, "weight": TENSORS["weight"] + 1e-6}
    renamed = {name + "_": t for name, t in TENSORS.items()}
    reshaped = {**TENSORS, "weight": TENSORS["weight"].view(6, 4)}
    assert len({checkpoints.weights_sha256(t) for t in (TENSORS, changed, renamed, reshaped)}) == 4
    stored, _ = checkpoints.load(checkpoints.save(tmp_path / "c", changed, {}, dtype=torch.float16))
    assert checkpoints.read_header(tmp_path / "c")["weights_sha256"] == checkpoints.weights_sha256(stored)


def test_a_checkpoint_from_before_headers_had_that_digest_is_read(tmp_path):
    header = {"name": "old"}
    metadata = {"pixellib": json.dumps({**header, "sha256": checkpoints._digest(TENSORS, header)})}
    safetensors.torch.save_file(TENSORS, tmp_path / "old", metadata)
    assert checkpoints.load(tmp_path / "old")[1] == {**header, "weights_sha256": checkpoints.weights_sha256(TENSORS)}


def test_a_header_comes_back_as_json_gives_it_back(tmp_path):
    """Keys that are numbers sort differently before they have become text; the digest is that of the text."""
    path = checkpoints.save(tmp_path / "a", {}, {"sizes": (28, 28), "bits": {2: 0.5, 10: 0.25}})
    header = checkpoints.load(path)[1]
    assert header["sizes"] == [28, 28] and header["bits"] == {"2": 0.5, "10": 0.25}


def test_an_identity_has_a_hash_that_follows_its_content_alone():
    identity = {"model": {"class": "VAE", "size": (28, 28)}, "beta": 1.0, "labels": None}
    same = {"labels": None, "beta": 1.0, "model": {"size": [28, 28], "class": "VAE"}}
    assert checkpoints.identity_hash(identity) == checkpoints.identity_hash(same)
    assert len(checkpoints.identity_hash(identity)) == 16
    others = [identity | change for change in ({"beta": 7.0}, {"beta": 1}, {"labels": ""}, {"more": None})]
    assert len({checkpoints.identity_hash(other) for other in [identity, *others]}) == 5
    with pytest.raises(TypeError):
        checkpoints.identity_hash({"model": object()})


def test_differences_are_named_by_key():
    theirs = {"model": {"beta": 1.0, "old": True}, "seed": 0, "sizes": (1, 2), "text": "x" * 500}
    mine = {"model": {"beta": 7.0, "new": None}, "seed": 0, "sizes": [1, 2], "text": "y"}
    found = checkpoints.identity_differences(theirs, mine)
    assert found[:3] == ["model.beta is 1.0, not 7.0", "model.new is absent, not None", "model.old is True, not absent"]
    assert len(found) == 4 and found[3].endswith("..., not y") and len(found[3]) < 100


def test_tensors_that_do_not_fit_the_model_are_listed(tmp_path):
    small, large = IWAE(1, (4, 4), (2,), (3,)), IWAE(1, (4, 4), (2, 2), (5, 3))
    before = {name: t.clone() for name, t in large.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"checkpoint here does not fit the model: decoders\.0\.0\.bias is"
    ) as error:
        checkpoints.restore(large, small.state_dict(), "here")
    assert "(3,), expected (5,)" in one_line(error)
    with pytest.raises(CheckpointError, match="does not fit the model: missing centre; missing decoders"):
        checkpoints.restore(small, {}, "here")
    assert all(torch.equal(t, before[name]) for name, t in large.state_dict().items()), "nothing was half restored"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = files.write_json(tmp_path / "a.json", {"old": True})

    def fail(temporary):
        temporary.write_text("half of it")
        raise error

    with pytest.raises(type(error)):
        files.write_atomically(path, fail)
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"] and json.loads(path.read_text()) == {"old": True}


def test_a_reader_never_sees_a_file_half_written(tmp_path):
    """A thread writes without pause what another one reads: each reading is one of the versions, whole."""
    path, stop = tmp_path / "a.safetensors", threading.Event()
    versions = [{"weight": torch.full((2000,), float(i))} for i in range(2)]
    checkpoints.save(path, versions[0], {"version": 0})

    def write():
        i = 0
        while not stop.is_set():
            i = 1 - i
            checkpoints.save(path, versions[i], {"version": i})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen, end = [], time.monotonic() + 60
        while (len(seen) < 100 or len(set(seen)) < 2) and time.monotonic() < end:
            tensors, header = checkpoints.load(path)
            assert torch.equal(tensors["weight"], versions[header["version"]]["weight"])
            seen.append(header["version"])
    finally:
        stop.set()
        writer.join()
    assert set(seen) == {0, 1}


STATE = {
    "identity": {"seed": 0},
    "step": 7,
    "model": {"w": torch.randn(300)},
    "optimiser": {"state": {0: torch.ones(3)}},
}


def test_a_resume_state_comes_back_as_it_was(tmp_path):
    state = checkpoints.load_resume(checkpoints.save_resume(tmp_path / "resume.pt", STATE))
    assert state["identity"] == {"seed": 0} and state["step"] == 7
    assert torch.equal(state["model"]["w"], STATE["model"]["w"]) and 0 in state["optimiser"]["state"]


def test_a_broken_resume_state_is_refused_by_name(tmp_path):
    """A training must not go on from weights of which a bit has changed; torch.load alone would not notice."""
    path = checkpoints.save_resume(tmp_path / "resume.pt", STATE)
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        data = next(info for info in archive.infolist() if info.filename.endswith("data/0"))
    inside = raw.index(STATE["model"]["w"].numpy().tobytes()) + data.file_size // 2
    flipped = raw[:inside] + bytes([raw[inside] ^ 1]) + raw[inside + 1 :]
    for broken in (flipped, raw[: len(raw) // 2], raw[:-1], b"", b"foreign"):
        path.write_bytes(broken)
        with pytest.raises(
            CheckpointError, match=r"cannot resume from .*resume\.pt: it is truncated, altered"
        ) as error:
            checkpoints.load_resume(path)
        assert "delete it to start afresh" in one_line(error)


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return (exec, ("import builtins; builtins.sprung = True",))


def test_nothing_is_ever_unpickled(tmp_path):
    """Neither a pickle nor a torch file with one inside runs any code, under either name."""
    import builtins

    path = tmp_path / "evil"
    for write in (
        lambda: torch.save({**STATE, "history": Trap()}, path),
        lambda: torch.save({**STATE, "history": Trap()}, path, _use_new_zipfile_serialization=False),
        lambda: path.write_bytes(pickle.dumps({**STATE, "history": Trap()})),
    ):
        write()
        for load in (checkpoints.load, checkpoints.load_resume):
            with pytest.raises(CheckpointError):
                load(path)
    assert not hasattr(builtins, "sprung")
    pickle.loads(path.read_bytes())  # the trap does work
    assert builtins.sprung
    del builtins.sprung


def test_a_torch_file_that_is_no_training_is_refused(tmp_path):
    for content in ({"weights": torch.ones(2)}, {"identity": [1]}, torch.ones(2), [1, 2]):
        torch.save(content, tmp_path / "resume.pt")
        with pytest.raises(CheckpointError, match="not one of ours"):
            checkpoints.load_resume(tmp_path / "resume.pt")
