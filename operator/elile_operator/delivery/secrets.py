"""Writing the Secret of an ElileSecret: created only where there is none, updated only while it is the same one."""

import logging
from typing import Any

from elile_operator.api.meta import FieldManager
from elile_operator.decide.live import LiveSecret
from elile_operator.kube.client import Json, KubeClient
from elile_operator.kube.errors import KubeConflictError, KubeInvalidError, KubeNotFoundError
from elile_operator.kube.resources import SECRETS

__all__ = ["SecretWriter"]

log = logging.getLogger(__name__)

# Server-side apply makes what does not exist, and a resourceVersion is only compared where something exists: this one,
# which no Secret can have, turns "apply" into "create or fail".
ONLY_CREATE = "1"


class SecretWriter:
    """Server-side apply, with the ownership that was decided on as a precondition.

    A Secret that is owned is applied as field manager `elile`, one that is merged into as `elile.<ElileSecret>`.
    """

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube

    async def write(
        self,
        body: dict[str, Any],
        live: LiveSecret | None,
        *,
        manager: str = FieldManager.SECRETS,
        former: str | None = None,
        exact: bool = True,
    ) -> Json:
        """Write the Secret and return it as it is now.

        1. Apply. `live` None: only if there is none. Else: only if it still is that object in that version. A write
           that was given up may be under way yet, in a server that was frozen or behind another leader; without the
           version it would land on top of a later one, and take the value back for a moment.
        2. With `exact`, remove the data keys that others added, exactly while nothing else changed.
        3. Give up what we hold as the manager `former`: now, so that no key is away in between.

        Raises KubeConflictError when it is not what it was thought to be: look again, then decide again.
        """
        metadata = body["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        seen = {"uid": live.uid, "resourceVersion": live.resource_version} if live else {}
        precondition = seen or {"resourceVersion": ONLY_CREATE}
        asked = {**body, "metadata": {**metadata, **precondition}}
        try:
            written = await self._kube.apply(SECRETS, namespace, name, body=asked, manager=manager)
        except KubeInvalidError as e:
            # Another uid is taken for a change of an immutable field, not for a conflict: a look tells the two apart.
            if live is not None and await self._is_another(live):
                raise KubeConflictError(e.call, status=e.status, reason=e.reason) from None
            raise
        foreign = sorted((written.get("data") or {}).keys() - body["data"].keys())
        if exact and foreign:
            written = await self._remove(namespace, name, written, foreign)
        return await self._give_up(written, former) if former else written

    async def _remove(self, namespace: str, name: str, written: Json, foreign: list[str]) -> Json:
        log.info(
            "removing keys that do not belong to the Secret",
            extra={"fields": {"kind": "Secret", "namespace": namespace, "name": name, "keys": foreign}},
        )
        return await self._patch(written, [{"op": "remove", "path": f"/data/{_pointer(key)}"} for key in foreign])

    async def release(self, live: LiveSecret, manager: str) -> None:
        """Take out of a Secret what was merged into it as a manager; one that nobody else has a part in goes.

        Raises KubeConflictError when it is not what it was thought to be.
        """
        about = {"namespace": live.namespace, "name": live.name, "uid": live.uid}
        left = await self._give_up({"metadata": {**about, "resourceVersion": live.resource_version}}, manager)
        if not left.get("data") and not left["metadata"].get("managedFields"):
            preconditions = {"uid": live.uid, "resourceVersion": left["metadata"]["resourceVersion"]}
            await self._kube.delete(SECRETS, live.namespace, live.name, preconditions=preconditions)

    async def disown(self, live: LiveSecret, uid: str) -> None:
        """Take our owner reference off a Secret that stays. Raises KubeConflictError when it changed meanwhile."""
        found = await self.read(live.namespace, live.name)
        owners = (found or {}).get("metadata", {}).get("ownerReferences") or []
        if found is not None and any(owner["uid"] == uid for owner in owners):
            kept = [owner for owner in owners if owner["uid"] != uid]
            await self._patch(found, [{"op": "replace", "path": "/metadata/ownerReferences", "value": kept}])

    async def _give_up(self, written: Json, manager: str) -> Json:
        """Apply nothing as a manager: what it holds, and nobody else does, is removed."""
        meta = written["metadata"]
        about = {part: meta[part] for part in ("namespace", "name", "uid", "resourceVersion")}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": about}
        return await self._kube.apply(SECRETS, meta["namespace"], meta["name"], body=body, manager=manager)

    async def _patch(self, seen: Json, operations: list[Json]) -> Json:
        """Change a Secret exactly while it is as it was seen."""
        meta = seen["metadata"]
        test: Json = {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]}
        try:
            return await self._kube.json_patch(
                SECRETS, meta["namespace"], meta["name"], operations=[test, *operations], manager=FieldManager.SECRETS
            )
        except KubeInvalidError as e:  # how a failed test is answered
            raise KubeConflictError(e.call, status=e.status, reason=e.reason) from None

    async def read(self, namespace: str, name: str) -> Json | None:
        """Return the Secret as the API server has it, None when there is none."""
        try:
            return await self._kube.get(SECRETS, namespace, name)
        except KubeNotFoundError:
            return None

    async def _is_another(self, live: LiveSecret) -> bool:
        found = await self.read(live.namespace, live.name)
        return found is None or found["metadata"]["uid"] != live.uid

    async def delete(self, live: LiveSecret) -> None:
        """Delete exactly this Secret, if it is there. Raises KubeConflictError when somebody changed it meanwhile."""
        preconditions = {"uid": live.uid, "resourceVersion": live.resource_version}
        try:
            await self._kube.delete(SECRETS, live.namespace, live.name, preconditions=preconditions)
        except KubeNotFoundError:
            return


def _pointer(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
