"""Pages of a kind from the API server, as the engine's resync wants them."""

from elile_operator.engine import ListExpiredError, Page
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeGoneError
from elile_operator.kube.resources import Resource

__all__ = ["KubeLister"]


class KubeLister:
    """Lists one kind over all namespaces, narrowed by a label selector."""

    def __init__(self, kube: KubeClient, resource: Resource, *, label_selector: str | None = None) -> None:
        self._kube = kube
        self._resource = resource
        self._selector = label_selector

    async def list_page(self, token: str) -> Page:
        """Return one page. Raises ListExpiredError when the token is too old, KubeError otherwise."""
        try:
            items, following, version = await self._kube.list_page(
                self._resource, token=token, label_selector=self._selector
            )
        except KubeGoneError:
            raise ListExpiredError from None
        return Page(items, following, version)
