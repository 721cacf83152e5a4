"""Every VaultServer with the link to it and what is known of its health."""

from elile_operator.api.vaultserver import VaultServer
from elile_operator.decide.violation import Violation
from elile_operator.engine import Clock
from elile_operator.sources.link import Link, VaultObserver

__all__ = ["Servers"]


class Servers:
    """Links by the name of their VaultServer, made on first use and again whenever the spec changes."""

    def __init__(self, *, clock: Clock, observer: VaultObserver) -> None:
        self._clock = clock
        self._observer = observer
        self._links: dict[str, Link] = {}
        self._trouble: dict[str, Violation] = {}

    def link(self, server: VaultServer) -> Link:
        """Return the link for a server as its spec is now."""
        name, known = server.metadata.name, self._links.get(server.metadata.name)
        if known is not None and known.server.metadata.uid == server.metadata.uid and known.server.spec == server.spec:
            return known
        self.forget(name)
        self._links[name] = Link(server, clock=self._clock, observer=self._observer)
        return self._links[name]

    def find(self, name: str) -> Link | None:
        """Return the link in use, or None before the first use."""
        return self._links.get(name)

    def trouble(self, name: str) -> Violation | None:
        """Return what kept the server from being used at the last look; None while all is well or unknown."""
        return self._trouble.get(name)

    def report(self, name: str, violation: Violation | None) -> bool:
        """Note what the last look found; tell whether the server became usable, or unusable, with it."""
        before = self._trouble.pop(name, None)
        if violation is not None:
            self._trouble[name] = violation
        return (before is None) != (violation is None)

    def forget(self, name: str) -> None:
        """Close the link of a server that is gone or changed."""
        self._trouble.pop(name, None)
        if link := self._links.pop(name, None):
            link.close()

    def close(self) -> None:
        """Close all links."""
        for name in list(self._links):
            self.forget(name)
