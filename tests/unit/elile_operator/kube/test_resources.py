"""Where each kind lives on the API server."""

import pytest

from elile_operator.kube.resources import ELILE_SECRETS, EVENTS, LEASES, ROLE_BINDINGS, SECRETS, VAULT_SERVERS, Resource


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        pytest.param(SECRETS, (), "/api/v1/secrets", id="core, all namespaces"),
        pytest.param(SECRETS, ("shop",), "/api/v1/namespaces/shop/secrets", id="core, a namespace"),
        pytest.param(SECRETS, ("shop", "db"), "/api/v1/namespaces/shop/secrets/db", id="core, an object"),
        pytest.param(VAULT_SERVERS, (None, "a"), "/apis/elile.io/v1alpha1/vaultservers/a", id="without namespaces"),
        pytest.param(
            ELILE_SECRETS,
            ("shop", "db", "status"),
            "/apis/elile.io/v1alpha1/namespaces/shop/elilesecrets/db/status",
            id="a subresource",
        ),
        pytest.param(EVENTS, ("shop",), "/apis/events.k8s.io/v1/namespaces/shop/events", id="events"),
        pytest.param(LEASES, ("a",), "/apis/coordination.k8s.io/v1/namespaces/a/leases", id="leases"),
        pytest.param(ROLE_BINDINGS, (), "/apis/rbac.authorization.k8s.io/v1/rolebindings", id="role bindings"),
        pytest.param(SECRETS, ("a/b", "../c?d#e%2f"), "/api/v1/namespaces/a%2Fb/secrets/..%2Fc%3Fd%23e%252f", id="odd"),
    ],
)
def test_a_path(resource: Resource, arguments: tuple[str | None, ...], path: str) -> None:
    assert resource.path(*arguments) == path


def test_the_version_as_bodies_name_it() -> None:
    assert (SECRETS.api_version, VAULT_SERVERS.api_version) == ("v1", "elile.io/v1alpha1")
