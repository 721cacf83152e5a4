"""One listing for all followed entries of a folder, where OpenBao's policy lets their identity list it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from elile.secrets.answers import KVMetadata
from elile.secrets.errors import SecretsError
from elile.secrets.redact import SecretStr
from elile.secrets.vault import VaultClient
from elile_operator.decide.access import Engine
from elile_operator.decide.folders import is_enough, is_worthwhile
from elile_operator.engine import Clock
from elile_operator.kube.errors import KubeError
from elile_operator.sources.flight import Flights
from elile_operator.sources.identity import Identity, IdentityError
from elile_operator.sources.known import Entry
from elile_operator.sources.logins import Logins

__all__ = ["ASK_AGAIN_AFTER", "Folders"]

log = logging.getLogger(__name__)

# Seconds. What a folder's rights, or its listing, were found to be holds for so long.
ASK_AGAIN_AFTER = 3600.0
_LISTS = frozenset({"list", "root"})


class _Place(NamedTuple):
    """A folder as one identity sees it. The path is empty for the root of the mount."""

    identity: Identity
    namespace: str | None
    mount: str
    path: str


@dataclass(slots=True)
class _Folder:
    entries: dict[str, Entry] = field(default_factory=dict)  # that are followed, by their names in it
    listable: bool = False
    ask_at: float | None = None  # monotonic, when its rights are to be asked for again


class Folders:
    """Followed entries by folder. `tell` gets what a listing says of one, and when (monotonic) it was asked for."""

    def __init__(self, *, logins: Logins, clock: Clock, tell: Callable[[Entry, KVMetadata, float], None]) -> None:
        self._logins = logins
        self._clock = clock
        self._tell = tell
        self._folders: dict[_Place, _Folder] = {}
        self._flights: Flights[_Place] = Flights("list")

    def join(self, entry: Entry) -> None:
        """An entry is followed from now on."""
        if entry.engine is Engine.KV2:
            place, name = _split(entry)
            self._folders.setdefault(place, _Folder()).entries[name] = entry

    def leave(self, entry: Entry) -> None:
        """An entry is followed no more."""
        place, name = _split(entry)
        folder = self._folders.get(place)
        if entry.engine is Engine.KV2 and folder is not None:
            folder.entries.pop(name, None)
            if not folder.entries:
                del self._folders[place]

    async def look(self, entry: Entry, on_behalf_of: str) -> bool:
        """Return whether a listing told of the entry; otherwise it is to be looked at by itself, now.

        Makes one call at the most, and raises nothing that a server, an identity or the API server says.
        """
        place, name = _split(entry)
        folder = self._folders.get(place)
        if entry.engine is not Engine.KV2 or folder is None or not is_enough(len(folder.entries)):
            return False
        if folder.ask_at is None or self._clock.monotonic() >= folder.ask_at:
            await self._ask(place, folder, on_behalf_of)
            return False  # a listing on top of it would be the second call
        if not folder.listable:
            return False
        return name in await self._flights.share(place, lambda: self._list(place, folder, on_behalf_of))

    def ask_again(self, server: str) -> None:
        """A server is back, or is another one: what was found of its folders counts no more."""
        for place, folder in self._folders.items():
            if place.identity.server == server:
                folder.listable, folder.ask_at = False, None

    async def stop(self) -> None:
        """Cancel what is under way."""
        await self._flights.stop()

    async def _ask(self, place: _Place, folder: _Folder, on_behalf_of: str) -> None:
        self._do_not_list(folder)  # nor ask twice, while this is under way
        path = "/".join(part for part in (place.mount, "detailed-metadata", place.path) if part) + "/"

        def ask(client: VaultClient, token: SecretStr) -> frozenset[str]:
            return client.within(place.namespace).capabilities(token, [path])[path]

        try:
            may = await self._logins.call(place.identity, "capabilities", ask, on_behalf_of=on_behalf_of)
        except (SecretsError, IdentityError, KubeError) as e:
            log.debug("%s: cannot tell whether it may be listed: %s", path, e)
        else:
            folder.listable = bool(may & _LISTS)

    async def _list(self, place: _Place, folder: _Folder, on_behalf_of: str) -> Mapping[str, KVMetadata]:
        asked = self._clock.monotonic()

        def ask(client: VaultClient, token: SecretStr) -> Mapping[str, KVMetadata]:
            return client.within(place.namespace).kv2_list(
                token, mount=place.mount, folder=place.path, on_behalf_of=on_behalf_of
            )

        try:
            listed = await self._logins.call(place.identity, "list", ask, on_behalf_of=on_behalf_of)
        except (SecretsError, IdentityError, KubeError) as e:
            log.debug("entries are looked at one by one for an hour: %s", e)
            self._do_not_list(folder)
            return {}
        if not is_worthwhile(followed=len(folder.entries), listed=len(listed)):
            self._do_not_list(folder)
        for name, entry in list(folder.entries.items()):
            if name in listed:
                self._tell(entry, listed[name], asked)
        return listed

    def _do_not_list(self, folder: _Folder) -> None:
        folder.listable, folder.ask_at = False, self._clock.monotonic() + ASK_AGAIN_AFTER


def _split(entry: Entry) -> tuple[_Place, str]:
    folder, _, name = entry.path.rpartition("/")
    return _Place(entry.identity, entry.namespace, entry.mount, folder), name
