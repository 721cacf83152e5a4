"""The finalizer of our objects: there while something would have to be undone, and never for longer than its deadline.

One finalizer serves all that may have to be undone. Before the first thing of that kind is made: `hold`. In a pass
that finds nothing to undo any more, or once all is undone: `let_go`. Both do nothing when it is so already. When the
object is being deleted, undo; while that fails and the object is not `overdue`, come again; then let go and tell what
is left.
"""

from datetime import datetime, timedelta

from elile_operator.api.meta import FINALIZER
from elile_operator.api.model import ApiObject
from elile_operator.kube.client import Json, KubeClient
from elile_operator.kube.errors import KubeConflictError, KubeInvalidError, KubeNotFoundError
from elile_operator.kube.resources import Resource

__all__ = ["DEADLINE", "held", "hold", "let_go", "overdue"]

# The deletion of a namespace must not wait for longer.
DEADLINE = timedelta(minutes=2)
MANAGER = "elile-finalizer"


def held(target: ApiObject) -> bool:
    """Whether the object is kept from going, as far as is known."""
    return FINALIZER in target.metadata.finalizers


def overdue(target: ApiObject, now: datetime) -> bool:
    """Whether an object that is being deleted has waited for long enough."""
    since = target.metadata.deletion_timestamp
    return since is not None and now - since >= DEADLINE


async def hold(kube: KubeClient, resource: Resource, target: ApiObject) -> Json | None:
    """Have the object stay until `let_go`; answers it as it is now, None when there was nothing to do.

    Raises KubeNotFoundError when it is gone, KubeConflictError when it is another one or on its way out, or keeps
    changing under our hands.
    """
    return None if held(target) else await _change(kube, resource, target, wanted=True)


async def let_go(kube: KubeClient, resource: Resource, target: ApiObject) -> Json | None:
    """Take the finalizer away; answers the object as it is now, None when it is gone or had none. Raises as `hold`."""
    if not held(target):
        return None
    try:
        return await _change(kube, resource, target, wanted=False)
    except KubeNotFoundError:
        return None


async def _change(kube: KubeClient, resource: Resource, target: ApiObject, *, wanted: bool) -> Json | None:
    """Patch what the API server has. A list has no names: the version makes sure that the place is still the same."""
    meta = target.metadata
    found = await kube.get(resource, meta.namespace, meta.name)
    seen = found["metadata"]
    present: list[str] = seen.get("finalizers") or []
    if seen["uid"] != meta.uid or (wanted and "deletionTimestamp" in seen):
        raise KubeConflictError(f"PATCH {resource.path(meta.namespace, meta.name)}", status=409, reason="Conflict")
    if (FINALIZER in present) == wanted:
        return found
    if not wanted:
        change: Json = {"op": "remove", "path": f"/metadata/finalizers/{present.index(FINALIZER)}"}
    elif present:
        change = {"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER}
    else:
        change = {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}
    test: Json = {"op": "test", "path": "/metadata/resourceVersion", "value": seen["resourceVersion"]}
    try:
        return await kube.json_patch(resource, meta.namespace, meta.name, operations=[test, change], manager=MANAGER)
    except KubeInvalidError as e:  # how a failed test is answered
        raise KubeConflictError(e.call, status=e.status, reason=e.reason) from None
