"""The CA bundles that VaultServers name in ConfigMaps: read with each look at a server, which follows a rotation."""

from elile_operator.api.vaultserver import CaBundleRef, VaultServer
from elile_operator.decide.trust import bundle_of, no_config_map, no_right
from elile_operator.decide.violation import Violation
from elile_operator.engine import Clock
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeError, KubeForbiddenError, KubeNotFoundError
from elile_operator.kube.resources import CONFIG_MAPS
from elile_operator.sources.servers import Servers

__all__ = ["REREAD", "CaBundles"]

# Seconds. A server that is well is looked at more seldom, and each look reads; one that is refused is looked at several
# times a second, and a CA that was just put right is to be found soon all the same.
REREAD = 5.0


class CaBundles:
    """Reads, with the right to `get` single ConfigMaps: a watch would need the right to watch each, and save little."""

    def __init__(self, kube: KubeClient, *, servers: Servers, account: str, clock: Clock) -> None:
        self._kube = kube
        self._servers = servers
        self._account = account
        self._clock = clock
        self._good: dict[str, tuple[str, CaBundleRef, float]] = {}  # by server: its uid, what was read, and when

    async def look(self, server: VaultServer) -> Violation | None:
        """Have `Servers` trust what the ConfigMap of a server says now; return what is wrong with it.

        Does nothing for a server that names none. Raises KubeError when the API server does not answer and the bundle
        was never read; while it was, the last one counts.
        """
        ref, name = server.spec.tls.ca_bundle_ref, server.metadata.name
        if ref is None:
            return None
        uid, read, at = self._good.get(name, ("", None, 0.0))
        known = (uid, read) == (server.metadata.uid, ref)  # one made anew is another one, which `Servers` forgot
        now = self._clock.monotonic()
        if known and now - at < REREAD:
            return None
        try:
            body = await self._kube.get(CONFIG_MAPS, ref.namespace, ref.name)
        except KubeNotFoundError:
            found: str | Violation = no_config_map(ref)
        except KubeForbiddenError:
            found = no_right(ref, self._account)
        except KubeError:
            if not known:
                raise
            return None
        else:
            found = bundle_of(ref, body.get("data") or {})
        if isinstance(found, Violation):
            self._good.pop(name, None)
            return found
        self._good[name] = (server.metadata.uid, ref, now)
        self._servers.trust(name, ref, found)
        return None
