"""Writing a status: by server-side apply, by one manager for each kind, and only when it differs."""

from elile_operator.api.meta import API_VERSION, FieldManager
from elile_operator.api.model import ApiObject, StatusModel
from elile_operator.kube.client import Json, KubeClient
from elile_operator.kube.errors import KubeConflictError, KubeNotFoundError
from elile_operator.kube.resources import Resource

__all__ = ["apply_status"]


async def apply_status(
    kube: KubeClient, resource: Resource, target: ApiObject, status: StatusModel, *, manager: FieldManager
) -> Json:
    """Write the whole status of one object and return the object as it is now.

    A status must not be written to an object of the same name made anew. The API server ignores a uid here (it takes
    the metadata from the stored object before it compares), so the version is the precondition; when that is old, one
    look tells whether it still is the same object.

    Raises KubeNotFoundError when the object is gone or another one: its own event brings that one. KubeConflictError
    when it keeps changing under our hands.
    """
    meta = target.metadata
    body = {
        "apiVersion": API_VERSION,
        "kind": resource.kind,
        "metadata": {"name": meta.name, "resourceVersion": meta.resource_version},
        "status": status.dump(),
    }
    try:
        return await kube.apply(resource, meta.namespace, meta.name, body=body, manager=manager, status=True)
    except KubeConflictError as e:
        found = (await kube.get(resource, meta.namespace, meta.name))["metadata"]
        if found["uid"] != meta.uid:
            raise KubeNotFoundError(e.call, status=e.status, reason=e.reason) from None
        body["metadata"] = {"name": meta.name, "resourceVersion": found["resourceVersion"]}
        return await kube.apply(resource, meta.namespace, meta.name, body=body, manager=manager, status=True)
