"""Every VaultServer with the link to it and what is known of its health."""

from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import CaBundleRef, VaultServer
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
        self._bundles: dict[str, tuple[CaBundleRef, str]] = {}
        self._clusters: dict[str, str] = {}

    def link(self, server: VaultServer) -> Link | None:
        """Return the link for a server as its spec is now; None while the CA bundle that it names was not read."""
        name, known = server.metadata.name, self._links.get(server.metadata.name)
        trusting = self._trusting(server)
        if trusting is None:
            if known is not None:
                self._close(name)
            self._trouble.setdefault(name, _not_read(name))
            return None
        same = known is not None and known.server.metadata.uid == server.metadata.uid
        if known is not None and same and known.server.spec == trusting.spec:
            return known
        self._close(name)
        self._links[name] = Link(trusting, clock=self._clock, observer=self._observer)
        return self._links[name]

    def trust(self, name: str, ref: CaBundleRef, pem: str) -> None:
        """Note what the ConfigMap holds that a server names; another bundle is another link."""
        self._bundles[name] = (ref, pem)

    def find(self, name: str) -> Link | None:
        """Return the link in use, or None before the first use."""
        return self._links.get(name)

    def trouble(self, name: str) -> Violation | None:
        """Return what kept the server from being used at the last look; None while all is well or unknown."""
        return self._trouble.get(name)

    def cluster(self, name: str) -> str | None:
        """Return the identity of the Vault that the link leads to; None while it is not known."""
        return self._clusters.get(name)

    def same_vault(self, one: str, other: str) -> bool:
        """Whether two VaultServers are known to be one Vault."""
        cluster = self._clusters.get(one)
        return cluster is not None and cluster == self._clusters.get(other)

    def identify(self, name: str, cluster: str) -> None:
        """Note which Vault answers by the link."""
        self._clusters[name] = cluster

    def report(self, name: str, violation: Violation | None) -> bool:
        """Note what the last look found; tell whether the server became usable, or unusable, with it."""
        before = self._trouble.pop(name, None)
        if violation is not None:
            self._trouble[name] = violation
        return (before is None) != (violation is None)

    def forget(self, name: str) -> None:
        """Close the link of a server that is gone."""
        self._bundles.pop(name, None)
        self._close(name)

    def close(self) -> None:
        """Close all links."""
        for name in list(self._links):
            self.forget(name)

    def _close(self, name: str) -> None:
        self._trouble.pop(name, None)
        self._clusters.pop(name, None)
        if link := self._links.pop(name, None):
            link.close()

    def _trusting(self, server: VaultServer) -> VaultServer | None:
        """Return the server with the bundle in its spec, wherever it is from."""
        tls = server.spec.tls
        if tls.ca_bundle_ref is None:
            return server
        ref, pem = self._bundles.get(server.metadata.name, (None, None))
        if ref != tls.ca_bundle_ref:
            return None
        trust = tls.model_copy(update={"ca_bundle": pem, "ca_bundle_ref": None})
        return server.model_copy(update={"spec": server.spec.model_copy(update={"tls": trust})})


def _not_read(name: str) -> Violation:
    return Violation(
        Reason.SERVER_NOT_READY,
        f"the CA bundle of VaultServer {name!r} was not read yet; its own conditions tell what it waits for",
    )
