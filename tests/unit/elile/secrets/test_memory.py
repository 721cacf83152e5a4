"""The memory backend: versions, deletion, and the staging that rotation needs."""

import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile.secrets.errors import (
    SecretConflictError,
    SecretDeletedError,
    SecretNotFoundError,
    SecretValidationError,
    SecretVersionNotFoundError,
)
from elile.secrets.memory import KEPT_VERSIONS, MAX_BYTES, MemoryBackend
from elile.secrets.protocol import Backend, Capabilities, Ref, Version, VersionedBackend
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.testing.conformance import BackendConformance, VersionedConformance

CANARY = "canary-31fe"
START = datetime(2026, 1, 1, tzinfo=UTC)


class TestConformance(BackendConformance, VersionedConformance):
    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend()


def clock() -> Iterator[datetime]:
    at = START
    while True:
        yield at
        at += timedelta(seconds=1)


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend({"a": {"x": "1"}}, now=clock().__next__)


def version(number: str, **data: Any) -> Version:
    return Version(number, Redacted(data))


def test_it_is_what_the_protocols_ask_for(backend: MemoryBackend) -> None:
    plain: Backend = backend
    staging: VersionedBackend = backend
    plain.check()
    plain.close()
    assert plain.name == "memory"
    assert plain.capabilities == Capabilities(
        write=True, versions=True, version_check=True, expect=True, notices=False, expiry=True
    )
    assert staging.versioned.max_bytes == MAX_BYTES


def test_versions_are_numbered_and_kept(backend: MemoryBackend) -> None:
    written = backend.write("a", {"x": "2"})
    assert (written.metadata.version, written.metadata.previous_version) == ("2", "1")
    assert written.metadata.created_at == START + timedelta(seconds=1)
    assert written.metadata.source == "memory"
    assert backend.version("a") == "2"
    assert backend.read("a").data.reveal() == {"x": "2"}
    assert backend.read("a", version="1").data.reveal() == {"x": "1"}
    assert backend.read("a", version="1").metadata.previous_version is None


def test_ten_versions_are_kept(backend: MemoryBackend) -> None:
    for number in range(2, 13):
        backend.write("a", {"x": str(number)})
    assert KEPT_VERSIONS == 10
    assert backend.read("a", version="3").data.reveal() == {"x": "3"}
    with pytest.raises(SecretVersionNotFoundError, match="the current one is 12"):
        backend.read("a", version="2")


@pytest.mark.parametrize("wrong", ["0", "2", "01", "x", "-1"])
def test_versions_never_written_are_not_found(backend: MemoryBackend, wrong: str) -> None:
    with pytest.raises(SecretVersionNotFoundError):
        backend.read("a", version=wrong)


def test_a_path_never_written_is_not_found(backend: MemoryBackend) -> None:
    for ask in (backend.read, backend.version, backend.current, backend.delete, backend.undelete, backend.annotate):
        with pytest.raises(SecretNotFoundError) as caught:
            ask("b")
        assert type(caught.value) is SecretNotFoundError
        assert (caught.value.path, caught.value.backend) == ("b", "memory")
    with pytest.raises(SecretNotFoundError) as caught:
        backend.read("b", version="1")
    assert type(caught.value) is SecretNotFoundError


def test_a_write_compares_with_what_is_expected(backend: MemoryBackend) -> None:
    for wrong in ("", "0", "2"):
        with pytest.raises(SecretConflictError):
            backend.write("a", {"x": CANARY}, expect=wrong)
    assert backend.write("a", {"x": "2"}, expect="1").metadata.version == "2"
    with pytest.raises(SecretConflictError):
        backend.write("b", {}, expect="1")
    with pytest.raises(SecretNotFoundError):
        backend.read("b")
    assert backend.write("b", {}, expect="").metadata.version == "1"


def test_a_deleted_version_does_not_fall_back(backend: MemoryBackend) -> None:
    backend.write("a", {"x": "2"})
    backend.delete("a")
    for ask in (backend.read, backend.version, backend.current):
        with pytest.raises(SecretDeletedError) as caught:
            ask("a")
        assert (caught.value.version, caught.value.destroyed, caught.value.backend) == (2, False, "memory")
        assert caught.value.deleted_at == START + timedelta(seconds=2)
    assert backend.read("a", version="1").data.reveal() == {"x": "1"}
    with pytest.raises(SecretConflictError):
        backend.write("a", {}, expect="")
    backend.undelete("a")
    assert backend.read("a").data.reveal() == {"x": "2"}
    backend.delete("a")
    assert backend.write("a", {"x": "3"}, expect="2").metadata.version == "3"


def test_a_destroyed_version_is_gone(backend: MemoryBackend) -> None:
    backend.write("a", {"x": "2"})
    backend.delete("a", version="1", destroy=True)
    for ask in (backend.read, backend.undelete):
        with pytest.raises(SecretDeletedError, match="destroyed") as caught:
            ask("a", version="1")
        assert caught.value.destroyed
    assert backend.read("a").data.reveal() == {"x": "2"}


def test_metadata_can_be_set(backend: MemoryBackend) -> None:
    backend.annotate("a", expires_at=START, next_rotation=START, rotated_at=START, custom={"managed-by": "x"})
    told = backend.read("a").metadata
    assert (told.version, told.expires_at, told.next_rotation, told.rotated_at) == ("1", START, START, START)
    assert told.custom == {"managed-by": "x"}


def test_nobody_shares_an_object_with_the_store() -> None:
    data = {"x": {"y": [1]}}
    backend = MemoryBackend({"a": data})
    data["x"]["y"].append(2)
    backend.read("a").data.reveal()["x"]["y"].append(3)
    backend.current("a").data.reveal()["x"]["y"].append(4)
    assert backend.read("a").data.reveal() == {"x": {"y": [1]}}


@pytest.mark.parametrize("value", [{CANARY}, CANARY.encode(), SecretStr(CANARY), float("nan"), "x" * (MAX_BYTES + 1)])
def test_what_no_store_would_keep_is_refused_without_the_value(backend: MemoryBackend, value: Any) -> None:
    for write in (backend.write, lambda p, d: backend.stage(p, d, key="k")):
        with pytest.raises(SecretValidationError) as caught:
            write("a", {"x": value})
        assert caught.value.__context__ is None
        assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert backend.version("a") == "1"


def test_it_does_not_show_what_it_holds() -> None:
    backend = MemoryBackend({"a": {"x": CANARY}})
    ref = backend.stage("a", {"x": CANARY}, key="k")
    shown = (
        f"{backend} {vars(backend)} {backend.read('a')} {backend.current('a')} {backend.read_staged('a', ref)} {ref}"
    )
    assert CANARY not in shown


# ── staging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_staged_value_is_invisible_until_it_is_promoted(backend: MemoryBackend) -> None:
    before = backend.current("a")
    ref = backend.stage("a", {"x": "2"}, key="k")
    assert (backend.version("a"), backend.read("a").data.reveal()) == ("1", {"x": "1"})
    with pytest.raises(SecretVersionNotFoundError):
        backend.read("a", version=ref.id)
    assert backend.read_staged("a", ref).reveal() == {"x": "2"}
    promoted = backend.promote("a", ref, expect=before)
    assert (promoted.id, promoted.data.reveal()) == ("2", {"x": "2"})
    assert backend.current("a") == promoted
    assert backend.read("a").metadata.previous_version == "1"


def test_staging_is_idempotent_by_key(backend: MemoryBackend) -> None:
    ref = backend.stage("a", {"x": "2", "y": "3"}, key="k")
    assert backend.stage("a", {"y": "3", "x": "2"}, key="k") == ref
    assert backend.stage("a", {"x": "2", "y": "3"}, key="other") != ref
    with pytest.raises(SecretConflictError) as caught:
        backend.stage("a", {"x": CANARY}, key="k")
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    backend.promote("a", ref, expect=backend.current("a"))
    assert backend.stage("a", {"x": "2", "y": "3"}, key="k") == ref


def test_promoting_again_answers_the_same_version(backend: MemoryBackend) -> None:
    before = backend.current("a")
    ref = backend.stage("a", {"x": "2"}, key="k")
    first = backend.promote("a", ref, expect=before)
    assert backend.promote("a", ref, expect=before) == first
    backend.write("a", {"x": "3"})
    assert backend.promote("a", ref, expect=before) == first
    assert backend.version("a") == "3"


def test_promoting_onto_another_version_is_a_conflict(backend: MemoryBackend) -> None:
    before = backend.current("a")
    ref = backend.stage("a", {"x": "2"}, key="k")
    backend.write("a", {"x": "other"})
    with pytest.raises(SecretConflictError):
        backend.promote("a", ref, expect=before)
    assert backend.read("a").data.reveal() == {"x": "other"}
    assert backend.promote("a", ref, expect=backend.current("a")).id == "3"


def test_a_path_can_begin_with_a_staged_value(backend: MemoryBackend) -> None:
    ref = backend.stage("new", {"x": "1"}, key="k")
    with pytest.raises(SecretNotFoundError):
        backend.read("new")
    with pytest.raises(SecretConflictError):
        backend.promote("new", ref, expect=version("1"))
    assert backend.promote("new", ref, expect=version("")).id == "1"
    assert backend.read("new").data.reveal() == {"x": "1"}


def test_discarding_removes_what_is_staged_and_nothing_else(backend: MemoryBackend) -> None:
    ref = backend.stage("a", {"x": "2"}, key="k")
    backend.discard("a", ref)
    backend.discard("a", ref)
    backend.discard("unknown", ref)
    for ask in (lambda: backend.read_staged("a", ref), lambda: backend.promote("a", ref, expect=backend.current("a"))):
        with pytest.raises(SecretVersionNotFoundError):
            ask()
    again = backend.stage("a", {"x": "other"}, key="k")
    assert again != ref
    backend.discard("a", ref)
    assert backend.read_staged("a", again).reveal() == {"x": "other"}
    promoted = backend.promote("a", again, expect=backend.current("a"))
    backend.discard("a", again)
    assert backend.current("a") == promoted
    assert backend.promote("a", again, expect=promoted) == promoted


def test_unknown_references_are_not_found(backend: MemoryBackend) -> None:
    for path in ("a", "unknown"):
        with pytest.raises(SecretVersionNotFoundError):
            backend.read_staged(path, Ref("staged-9", "k"))


def test_rolling_back_writes_what_the_caller_kept(backend: MemoryBackend) -> None:
    before = backend.current("a")
    promoted = backend.promote("a", backend.stage("a", {"x": "2"}, key="k"), expect=before)
    backend.delete("a", version="1", destroy=True)
    back = backend.rollback("a", to=before, expect=promoted)
    assert (back.id, back.data.reveal()) == ("3", {"x": "1"})
    assert backend.rollback("a", to=before, expect=promoted) == back
    assert backend.version("a") == "3"


def test_rolling_back_what_was_never_promoted_changes_nothing(backend: MemoryBackend) -> None:
    before = backend.current("a")
    assert backend.rollback("a", to=before, expect=version("2")) == before
    assert backend.version("a") == "1"


def test_rolling_back_over_another_version_is_a_conflict(backend: MemoryBackend) -> None:
    before = backend.current("a")
    promoted = backend.promote("a", backend.stage("a", {"x": "2"}, key="k"), expect=before)
    back = backend.rollback("a", to=before, expect=promoted)
    backend.write("a", {"x": "other"})
    for expect in (promoted, back):
        with pytest.raises(SecretConflictError):
            backend.rollback("a", to=before, expect=expect)
    with pytest.raises(SecretConflictError):
        backend.rollback("unknown", to=before, expect=promoted)
    assert backend.read("a").data.reveal() == {"x": "other"}


def test_what_was_promoted_is_forgotten_with_its_version(backend: MemoryBackend) -> None:
    ref = backend.stage("a", {"x": "2"}, key="k")
    waiting = backend.stage("a", {"x": "3"}, key="other")
    backend.promote("a", ref, expect=backend.current("a"))
    for _ in range(KEPT_VERSIONS):
        backend.write("a", {})
    with pytest.raises(SecretVersionNotFoundError):
        backend.read_staged("a", ref)
    assert backend.read_staged("a", waiting).reveal() == {"x": "3"}


def test_of_many_threads_one_wins(backend: MemoryBackend) -> None:
    before = backend.current("a")

    def write(number: int) -> bool:
        try:
            backend.write("a", {"x": str(number)}, expect="1")
        except SecretConflictError:
            return False
        return True

    def promote(number: int) -> bool:
        try:
            backend.promote("b", backend.stage("b", {"x": number}, key=str(number)), expect=version(""))
        except SecretConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(50))) == 1
        assert sum(pool.map(promote, range(50))) == 1
        same = set(pool.map(lambda _: backend.stage("a", {"x": "s"}, key="same").id, range(50)))
        list(pool.map(lambda _: backend.write("c", {"x": "1"}), range(50)))
    assert len(same) == 1
    assert before.id == "1"
    assert (backend.version("a"), backend.version("b"), backend.version("c")) == ("2", "1", "50")
