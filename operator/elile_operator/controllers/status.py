"""Writing a status: by server-side apply, by one manager for each kind, and only when it differs."""

from elile_operator.api.meta import API_VERSION, FieldManager
from elile_operator.api.model import ApiObject, StatusModel
from elile_operator.kube.client import Json, KubeClient
from elile_operator.kube.resources import Resource

__all__ = ["apply_status"]


async def apply_status(
    kube: KubeClient, resource: Resource, target: ApiObject, status: StatusModel, *, manager: FieldManager
) -> Json:
    """Write the whole status of one object and return the object as it is now.

    The uid is a precondition: a status must not be written to an object of the same name made anew, nor make one.
    Raises KubeConflictError or KubeNotFoundError then; the object's own event brings it back.
    """
    meta = target.metadata
    body = {
        "apiVersion": API_VERSION,
        "kind": resource.kind,
        "metadata": {"name": meta.name, "uid": meta.uid},
        "status": status.dump(),
    }
    return await kube.apply(resource, meta.namespace, meta.name, body=body, manager=manager, status=True)
