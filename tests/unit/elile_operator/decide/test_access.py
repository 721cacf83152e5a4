"""Who may use a server, and what is read there as whom once every default is filled in."""

from dataclasses import replace
from typing import Any

import pytest

from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import VaultServer
from elile_operator.decide.access import Access, SourceRead, check_access, plan_reads
from elile_operator.decide.violation import Violation
from tests.fakes.objects import READ, elile_secret, vault_server

REFUSED = Violation(
    Reason.NAMESPACE_NOT_ALLOWED,
    "VaultServer 'default' does not allow namespace 'shop'; ask its administrator to add it to spec.allowedNamespaces",
)


def access(server: VaultServer | None, **labels: str) -> Access:
    return Access(secret=elile_secret(), server=server, labels=labels)


def test_a_server_that_does_not_exist_is_named() -> None:
    observed = replace(access(None), secret=elile_secret(vault={"server": "prod"}))
    assert check_access(observed) == Violation(
        Reason.SERVER_NOT_FOUND,
        "spec.vault.server names VaultServer 'prod', which does not exist; create it or correct the name",
    )


@pytest.mark.parametrize(
    ("allowed", "labels", "found"),
    [
        pytest.param(None, {}, None, id="absent means everybody"),
        pytest.param({"names": ["web", "shop"]}, {}, None, id="named"),
        pytest.param({"names": ["web"]}, {}, REFUSED, id="not named"),
        pytest.param({"names": []}, {}, REFUSED, id="nobody"),
        pytest.param({"selector": {}}, {}, None, id="empty selector means everybody"),
        pytest.param({"selector": {"matchLabels": {"tier": "1"}}}, {"tier": "1"}, None, id="selected"),
        pytest.param({"selector": {"matchLabels": {"tier": "1"}}}, {"tier": "2"}, REFUSED, id="other label"),
        pytest.param({"selector": {"matchLabels": {"tier": "1"}}}, {}, REFUSED, id="labels not known yet"),
        pytest.param(
            {"names": ["shop"], "selector": {"matchLabels": {"a": "b"}}}, {}, None, id="one of both is enough"
        ),
    ],
)
def test_the_server_says_which_namespaces_may_use_it(
    allowed: dict[str, Any] | None, labels: dict[str, str], found: Violation | None
) -> None:
    spec = {} if allowed is None else {"allowedNamespaces": allowed}
    assert check_access(access(vault_server(**spec), **labels)) == found


@pytest.mark.parametrize(
    ("secret", "server", "want"),
    [
        pytest.param({}, {}, {}, id="defaults of the API"),
        pytest.param(
            {},
            {
                "defaults": {
                    "role": "r-${namespace}",
                    "serviceAccountName": "sa-${namespace}",
                    "mount": "kv/${namespace}",
                }
            },
            {"role": "r-shop", "service_account": "sa-shop", "mount": "kv/shop"},
            id="defaults of the server, for this namespace",
        ),
        pytest.param(
            {
                "vault": {"role": "mine", "serviceAccountName": "me"},
                "sources": [{"name": "main", "kv": {"mount": "own", "path": "a/b", "version": 7}}],
            },
            {"defaults": {"role": "other", "serviceAccountName": "other", "mount": "other"}},
            {"role": "mine", "service_account": "me", "mount": "own", "path": "a/b", "version": 7},
            id="what the object says wins",
        ),
    ],
)
def test_a_read_has_every_default_filled_in(
    secret: dict[str, Any], server: dict[str, Any], want: dict[str, Any]
) -> None:
    assert plan_reads(elile_secret(**secret), vault_server(**server)) == (replace(READ, **want),)


def test_reads_keep_the_order_of_the_spec() -> None:
    sources = [{"name": "b", "kv": {"path": "b"}}, {"name": "a", "kv": {"path": "a"}}]
    assert [(r.name, r.path) for r in plan_reads(elile_secret(sources=sources), vault_server())] == [
        ("b", "b"),
        ("a", "a"),
    ]


def test_a_source_without_an_entry_reads_nothing() -> None:
    secret = elile_secret()
    # No other kind of source exists yet; the model refuses one without, what it makes unchecked is not read.
    source = secret.spec.sources[0].model_copy(update={"kv": None})
    bare = secret.model_copy(update={"spec": secret.spec.model_copy(update={"sources": (source,)})})
    assert plan_reads(bare, vault_server()) == ()


def test_no_identity_of_another_namespace_can_be_asked_for() -> None:
    reads: tuple[SourceRead, ...] = plan_reads(
        elile_secret(metadata={"namespace": "web"}), vault_server(defaults={"serviceAccountName": "other"})
    )
    assert [(r.namespace, r.service_account) for r in reads] == [("web", "other")]
