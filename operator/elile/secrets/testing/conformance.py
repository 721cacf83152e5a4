"""What every backend has to pass. Subclass it in a test module of yours and give the fixture `backend`:

    class TestMine(BackendConformance):
        @pytest.fixture
        def backend(self) -> Iterator[Backend]: ...

Rules that a backend does not claim in its `capabilities` are not asked of it.
"""

import traceback
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from elile.secrets.errors import (
    SecretConflictError,
    SecretNotFoundError,
    SecretsConfigurationError,
    SecretsError,
    SecretVersionNotFoundError,
)
from elile.secrets.protocol import Backend, Ref, Version, VersionedBackend

__all__ = ["BackendConformance", "VersionedConformance"]

VALUES = {"user": "app", "password": "p@ss: wörd\n=#${x}'\""}


class BackendConformance:
    """Reading, writing and versions. `path` gives a name that nothing else uses."""

    @pytest.fixture
    def path(self) -> str:
        """Return a path that was never used."""
        return f"elile-test/{uuid.uuid4().hex}"

    def seed(self, backend: Backend, path: str, data: Mapping[str, Any]) -> None:
        """Make an entry; override it for a backend that cannot write."""
        backend.write(path, data)

    def test_what_is_written_is_read(self, backend: Backend, path: str) -> None:
        self.seed(backend, path, VALUES)
        reading = backend.read(path)
        assert dict(reading.data.reveal()) == VALUES
        assert reading.metadata.source

    def test_what_is_not_there_is_not_found(self, backend: Backend, path: str) -> None:
        with pytest.raises(SecretNotFoundError) as caught:
            backend.read(path)
        assert path in str(caught.value)

    @pytest.mark.parametrize("bad", ["../up", "a/../b", "a//b", "/a", "a/", ""])
    def test_a_path_that_leads_elsewhere_is_refused(self, backend: Backend, bad: str) -> None:
        with pytest.raises((SecretsConfigurationError, SecretNotFoundError)):
            backend.read(bad)

    def test_a_write_replaces_all_keys(self, backend: Backend, path: str) -> None:
        needs(backend.capabilities.write)
        backend.write(path, VALUES)
        backend.write(path, {"other": "1"})
        assert dict(backend.read(path).data.reveal()) == {"other": "1"}

    def test_the_version_is_told_without_the_value(self, backend: Backend, path: str) -> None:
        needs(backend.capabilities.version_check)
        self.seed(backend, path, VALUES)
        assert backend.version(path) == backend.read(path).metadata.version

    def test_every_write_is_another_version(self, backend: Backend, path: str) -> None:
        needs(backend.capabilities.write and backend.capabilities.versions)
        versions = [backend.write(path, {"n": str(i)}).metadata.version for i in range(3)]
        assert len(set(versions)) == 3
        assert backend.read(path).metadata.version == versions[-1]
        assert dict(backend.read(path, version=versions[0]).data.reveal()) == {"n": "0"}

    def test_a_version_that_never_was(self, backend: Backend, path: str) -> None:
        needs(backend.capabilities.versions)
        self.seed(backend, path, VALUES)
        with pytest.raises(SecretVersionNotFoundError):
            backend.read(path, version="999999")

    def test_a_write_that_expects_another_version_changes_nothing(self, backend: Backend, path: str) -> None:
        needs(backend.capabilities.expect)
        first = backend.write(path, VALUES, expect="").metadata.version
        second = backend.write(path, {"n": "2"}, expect=first).metadata.version
        for old in (first, ""):
            with pytest.raises(SecretConflictError):
                backend.write(path, {"n": "3"}, expect=old)
        assert backend.read(path).metadata.version == second
        assert dict(backend.read(path).data.reveal()) == {"n": "2"}

    def test_errors_hold_no_values(self, backend: Backend, path: str) -> None:
        needs(backend.capabilities.expect)
        canary = uuid.uuid4().hex
        backend.write(path, {"k": canary})
        with pytest.raises(SecretsError) as caught:
            backend.write(path, {"k": canary}, expect="")
        # With what raised it, and what was being handled: both would be printed.
        assert canary not in "".join([repr(caught.value), *traceback.format_exception(caught.value)])

    def test_it_works(self, backend: Backend) -> None:
        backend.check()


class VersionedConformance:
    """Staging, promoting, rolling back, discarding: each twice, since an answer may be lost."""

    @pytest.fixture
    def path(self) -> str:
        """Return a path that was never used."""
        return f"elile-test/{uuid.uuid4().hex}"

    def begin(self, backend: Any, path: str) -> Version:
        """Make an entry and return its version."""
        backend.write(path, {"v": "old"})
        return store(backend).current(path)

    def test_a_run_that_succeeds(self, backend: Any, path: str) -> None:
        old = self.begin(backend, path)
        ref = twice(lambda: store(backend).stage(path, {"v": "new"}, key="run-1"))
        assert store(backend).read_staged(path, ref).reveal() == {"v": "new"}
        assert backend.read(path).data.reveal() == {"v": "old"}, "a staged value is invisible"
        new = twice(lambda: store(backend).promote(path, ref, expect=old))
        assert (new.data.reveal(), backend.read(path).data.reveal()) == ({"v": "new"}, {"v": "new"})
        assert new.id == store(backend).current(path).id != old.id
        discard_twice(backend, path, ref)
        assert backend.read(path).data.reveal() == {"v": "new"}

    def test_a_run_that_is_given_up(self, backend: Any, path: str) -> None:
        old = self.begin(backend, path)
        ref = store(backend).stage(path, {"v": "new"}, key="run-1")
        discard_twice(backend, path, ref)
        assert store(backend).current(path) == old

    def test_a_write_of_somebody_else_wins(self, backend: Any, path: str) -> None:
        old = self.begin(backend, path)
        ref = store(backend).stage(path, {"v": "new"}, key="run-1")
        backend.write(path, {"v": "by hand"})
        with pytest.raises(SecretConflictError):
            store(backend).promote(path, ref, expect=old)
        assert backend.read(path).data.reveal() == {"v": "by hand"}

    def test_a_run_that_is_rolled_back(self, backend: Any, path: str) -> None:
        old = self.begin(backend, path)
        ref = store(backend).stage(path, {"v": "new"}, key="run-1")
        new = store(backend).promote(path, ref, expect=old)
        back = twice(lambda: store(backend).rollback(path, to=old, expect=new))
        assert back.data.reveal() == backend.read(path).data.reveal() == {"v": "old"}

    def test_a_roll_back_over_somebody_else_is_refused(self, backend: Any, path: str) -> None:
        old = self.begin(backend, path)
        new = store(backend).promote(path, store(backend).stage(path, {"v": "new"}, key="run-1"), expect=old)
        backend.write(path, {"v": "by hand"})
        with pytest.raises(SecretConflictError):
            store(backend).rollback(path, to=old, expect=new)
        assert backend.read(path).data.reveal() == {"v": "by hand"}

    def test_a_key_stands_for_one_value(self, backend: Any, path: str) -> None:
        self.begin(backend, path)
        store(backend).stage(path, {"v": "new"}, key="run-1")
        with pytest.raises(SecretConflictError):
            store(backend).stage(path, {"v": "another"}, key="run-1")

    def test_another_run_may_stage_after_one_that_was_given_up(self, backend: Any, path: str) -> None:
        old = self.begin(backend, path)
        store(backend).discard(path, store(backend).stage(path, {"v": "new"}, key="run-1"))
        ref = store(backend).stage(path, {"v": "newer"}, key="run-2")
        assert store(backend).promote(path, ref, expect=old).data.reveal() == {"v": "newer"}


def needs(capability: bool) -> None:
    """Pass a rule over that the backend does not claim."""
    if not capability:
        pytest.skip("the backend does not claim this")


def store(backend: Any) -> VersionedBackend:
    """Return the backend as a versioned one."""
    versioned: VersionedBackend = backend
    return versioned


def twice(act: Callable[[], Any]) -> Any:
    """Do it again, as after an answer that was lost; both answers are the same."""
    first, second = act(), act()
    assert first == second
    return second


def discard_twice(backend: Any, path: str, ref: Ref) -> None:
    """Discard, and again."""
    store(backend).discard(path, ref)
    store(backend).discard(path, ref)
