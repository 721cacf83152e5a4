"""Several backends as one: who answers, what ends the search, and where a write goes."""

from collections.abc import Mapping
from typing import Any

import pytest

from elile.secrets.chain import ChainBackend
from elile.secrets.environment import EnvironmentBackend
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretConflictError,
    SecretDeletedError,
    SecretManagedElsewhereError,
    SecretMountNotFoundError,
    SecretNotFoundError,
    SecretsAuthenticationError,
    SecretsClosedError,
    SecretsConfigurationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsRateLimitedError,
    SecretsSealedError,
    SecretsUnavailableError,
    SecretVersionNotFoundError,
)
from elile.secrets.memory import MemoryBackend
from elile.secrets.protocol import Backend, Capabilities, Reading
from elile.secrets.testing.conformance import BackendConformance


class ReadOnly:
    """A backend like mounted files; `failing` is raised by every call."""

    def __init__(
        self, data: Mapping[str, Mapping[str, Any]] | None = None, *, failing: SecretsError | None = None
    ) -> None:
        self.name = "files"
        self.capabilities = Capabilities(version_check=True, notices=True)
        self.inner = MemoryBackend(data or {})
        self.failing = failing
        self.calls: list[str] = []

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if self.failing:
            raise self.failing

    def read(self, path: str, *, version: str | None = None) -> Reading:
        self._called("read")
        return self.inner.read(path, version=version)

    def version(self, path: str) -> str:
        self._called("version")
        return self.inner.version(path)

    def write(self, path: str, data: Mapping[str, Any], *, expect: str | None = None) -> Reading:
        raise AssertionError("a chain asks only those that can write")

    def check(self) -> None:
        self._called("check")

    def close(self) -> None:
        self._called("close")


class TestConformance(BackendConformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return ChainBackend(MemoryBackend({"other": {}}), MemoryBackend())


def value(backend: Backend, path: str, version: str | None = None) -> Any:
    return backend.read(path, version=version).data.reveal()["x"]


def test_the_first_that_has_the_entry_answers_and_is_named() -> None:
    first, second = ReadOnly({"a": {"x": "1"}}), MemoryBackend({"a": {"x": "2"}, "b": {"x": "3"}})
    chain = ChainBackend(first, second)
    assert (value(chain, "a"), value(chain, "b")) == ("1", "3")
    assert chain.read("b").metadata.source == "memory"
    assert (chain.version("a"), chain.version("b")) == ("files:1", "memory:1")
    assert chain.read("a").metadata.version == "files:1"
    assert chain.name == "chain"


def test_versions_of_two_backends_are_told_apart() -> None:
    first, second = MemoryBackend(), MemoryBackend({"a": {"x": "old"}})
    chain = ChainBackend(first, second)
    before = chain.version("a")
    first.write("a", {"x": "new"})
    assert (before, chain.version("a")) == ("memory#2:1", "memory:1")
    assert (value(chain, "a", before), value(chain, "a", "memory:1")) == ("old", "new")
    assert chain.read("a", version=before).metadata.source == "memory#2"
    first.write("a", {"x": "newer"})
    assert chain.read("a").metadata.previous_version == "memory:1"


def test_a_version_without_a_name_asks_whoever_has_the_path() -> None:
    chain = ChainBackend(MemoryBackend(), MemoryBackend({"a": {"x": "1"}}))
    assert value(chain, "a", "1") == "1"
    with pytest.raises(SecretVersionNotFoundError):
        chain.read("a", version="unknown:1")


def test_what_nobody_has_says_what_each_looked_for() -> None:
    chain = ChainBackend(EnvironmentBackend({}), MemoryBackend())
    for ask in (chain.read, ChainBackend(MemoryBackend(), ReadOnly()).version):
        with pytest.raises(SecretNotFoundError) as caught:
            ask("a")
        assert type(caught.value) is SecretNotFoundError
        assert (caught.value.path, caught.value.backend) == ("a", "chain")
        assert caught.value.__context__ is None
    with pytest.raises(SecretNotFoundError, match=r"^a: environment: none of .* A .*; memory: nothing is stored here$"):
        chain.read("a")


@pytest.mark.parametrize(
    "failing",
    [
        SecretDeletedError("deleted", path="a", version=1, deleted_at=None, destroyed=False),
        SecretVersionNotFoundError("no such version"),
        SecretMountNotFoundError("no mount"),
        SecretAccessDeniedError("denied"),
        SecretsAuthenticationError("refused"),
        SecretsUnavailableError("no answer"),
        SecretsSealedError("sealed"),
        SecretsRateLimitedError("slowly"),
        SecretsMalformedResponseError("not JSON"),
        SecretsConfigurationError("both set"),
        SecretsClosedError("closed"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_everything_but_absence_ends_the_search(failing: SecretsError) -> None:
    chain = ChainBackend(ReadOnly(failing=failing), MemoryBackend({"a": {"x": "older"}}))
    for ask in (chain.read, chain.version, lambda path: chain.write(path, {})):
        with pytest.raises(SecretsError) as caught:
            ask("a")
        assert caught.value is failing
    assert value(ChainBackend(MemoryBackend({"a": {"x": "1"}}), ReadOnly(failing=failing)), "a") == "1"


def test_a_deleted_entry_hides_the_next_backend() -> None:
    first = MemoryBackend({"a": {"x": "1"}})
    chain = ChainBackend(first, MemoryBackend({"a": {"x": "older"}}))
    first.delete("a")
    with pytest.raises(SecretDeletedError):
        chain.read("a")
    assert chain.write("a", {"x": "2"}).metadata.version == "memory:2"


def test_a_write_goes_to_the_first_that_can() -> None:
    files, memory, last = ReadOnly(), MemoryBackend({"a": {"x": "1"}}), MemoryBackend()
    chain = ChainBackend(files, memory, last)
    written = chain.write("a", {"x": "2"}, expect="memory:1")
    assert (written.metadata.version, written.metadata.source) == ("memory:2", "memory")
    assert value(memory, "a") == "2"
    assert chain.write("a", {"x": "3"}, expect="2").metadata.version == "memory:3"
    assert chain.write("new", {"x": "1"}, expect="").metadata.version == "memory:1"
    with pytest.raises(SecretNotFoundError):
        last.read("new")


def test_a_write_that_would_not_be_read_is_refused() -> None:
    memory = MemoryBackend()
    with pytest.raises(SecretManagedElsewhereError, match="is given by files"):
        ChainBackend(ReadOnly({"a": {"x": "1"}}), memory).write("a", {"x": "2"})
    with pytest.raises(SecretNotFoundError):
        memory.read("a")
    with pytest.raises(SecretManagedElsewhereError, match="no backend"):
        ChainBackend(ReadOnly()).write("a", {})


def test_an_expected_version_of_another_backend_is_a_conflict() -> None:
    memory, last = MemoryBackend(), ReadOnly({"a": {"x": "1"}})
    chain = ChainBackend(memory, last)
    for expect in ("files:1", "memory:1", ""):
        with pytest.raises(SecretConflictError):
            chain.write("a", {"x": "2"}, expect=expect)
    assert chain.write("a", {"x": "2"}).metadata.version == "memory:1"
    with pytest.raises(SecretConflictError):
        chain.write("a", {"x": "3"}, expect="")


def test_capabilities_are_shared_but_for_writing() -> None:
    assert ChainBackend(MemoryBackend()).capabilities == MemoryBackend().capabilities
    assert ChainBackend(ReadOnly(), MemoryBackend()).capabilities == Capabilities(
        write=True, expect=True, version_check=True
    )
    assert ChainBackend(EnvironmentBackend({}), MemoryBackend()).capabilities == Capabilities(write=True)
    assert ChainBackend(ReadOnly()).capabilities == ReadOnly().capabilities


def test_a_backend_without_versions_keeps_none() -> None:
    chain = ChainBackend(EnvironmentBackend({"A": "x"}), MemoryBackend())
    assert chain.read("a").metadata.version is None
    assert chain.read("a").metadata.source == "environment"


def test_all_are_checked_and_all_are_closed() -> None:
    broken, fine = ReadOnly(failing=SecretsUnavailableError("no answer")), ReadOnly()
    chain = ChainBackend(fine, broken, fine)
    with pytest.raises(SecretsUnavailableError):
        chain.check()
    with pytest.raises(SecretsUnavailableError):
        chain.close()
    assert fine.calls == ["check", "close", "close"]
    ChainBackend(fine).check()


def test_a_chain_of_none_is_refused() -> None:
    with pytest.raises(SecretsConfigurationError):
        ChainBackend()


def test_it_shows_names_only() -> None:
    assert repr(ChainBackend(MemoryBackend({"a": {"x": "canary"}}), ReadOnly())) == "ChainBackend(memory, files)"
