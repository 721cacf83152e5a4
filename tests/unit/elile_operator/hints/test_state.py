"""Where the forwarder was: written whole, read strictly, and no reason to stop when neither works."""

import json
import logging
from pathlib import Path

import pytest

from elile_operator.hints.places import Known, Place
from elile_operator.hints.state import StateFile

KNOWN = Known(Place(64769, 1234567, 2**40), "ab" * 32)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state"
    StateFile(path).save(KNOWN)
    assert StateFile(path).load() == KNOWN
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_was_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert StateFile(tmp_path / "state").load() is None
    assert warnings(caplog) == []


SAVED = {"device": 1, "inode": 2, "offset": 3, "mark": "00"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{",
        b"[" * 4_000,
        b"[1, 2, 3]",
        b"null",
        json.dumps({**SAVED, "offset": -1}).encode(),
        json.dumps({**SAVED, "offset": 2**63}).encode(),
        json.dumps({**SAVED, "offset": 1.5}).encode(),
        json.dumps({**SAVED, "device": True}).encode(),
        json.dumps({**SAVED, "inode": "2"}).encode(),
        json.dumps({**SAVED, "mark": 0}).encode(),
        json.dumps({k: v for k, v in SAVED.items() if k != "mark"}).encode(),
    ],
)
def test_what_is_no_state_is_none(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state"
    path.write_bytes(content)
    state = StateFile(path)
    assert state.load() is None
    assert warnings(caplog) == ["the state file holds no state; it is written anew"]
    state.save(KNOWN)
    assert StateFile(path).load() == KNOWN


def test_what_cannot_be_written_is_said_once_with_the_remedy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "missing" / "state"
    state = StateFile(path)
    state.save(KNOWN)
    state.save(KNOWN)
    assert warnings(caplog) == [
        "the state file cannot be written (No such file or directory): after a restart the operator looks at "
        "everything; give --state-file a file in a folder that the forwarder's user may write"
    ]
    path.parent.mkdir()
    state.save(KNOWN)
    assert StateFile(path).load() == KNOWN


def test_what_cannot_be_read_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = StateFile(tmp_path)
    assert state.load() is None
    assert warnings(caplog) == [
        "the state file cannot be read (Is a directory): after a restart the operator looks at everything; "
        "give --state-file a file in a folder that the forwarder's user may write"
    ]


def test_the_same_is_not_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "state"
    state = StateFile(path)
    state.save(KNOWN)
    first = path.stat().st_ino
    state.save(Known(KNOWN.place, KNOWN.mark))
    assert path.stat().st_ino == first
    again = StateFile(path)
    again.load()
    again.save(KNOWN)
    assert path.stat().st_ino == first
