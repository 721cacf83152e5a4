"""Who may use a server, and what is read there as whom once every default is filled in."""

from dataclasses import replace
from typing import Any

import pytest

from elile_operator.api.auth import AuthMethod
from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import VaultServer
from elile_operator.decide.access import Access, Engine, Planned, SourceIssue, SourceRead, check_access, plan_reads
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
    ("source", "refused"),
    [
        pytest.param({"kv": {"path": "elile-journal/shop/db"}}, "kv.path is 'elile-journal/shop/db'", id="a journal"),
        pytest.param({"kv": {"path": "elile-journal"}}, "kv.path is 'elile-journal'", id="the folder"),
        pytest.param({"kv": {"path": "elile-journal-inbox/db"}}, "kv.path is 'elile-journal-inbox/db'", id="an inbox"),
        pytest.param(
            {"generate": {"kv": {"path": "elile-journal/db"}, "keys": {"password": {"password": {"length": 32}}}}},
            "generate.kv.path is 'elile-journal/db'",
            id="written there",
        ),
        pytest.param(
            {"read": {"path": "secret/data/elile-journal/db"}},
            "read.path is 'secret/data/elile-journal/db'",
            id="read as any path",
        ),
        pytest.param(
            {"kv": {"engine": "v1", "path": "data/elile-journal/db"}},
            "kv.path is 'data/elile-journal/db'",
            id="read as version 1",
        ),
        pytest.param({"kv": {"path": "elile-journals/db"}}, None, id="another folder"),
        pytest.param({"kv": {"path": "shop/elile-journal/db"}}, None, id="a folder of an application"),
        pytest.param({"kv": {"engine": "v1", "path": "elile-journal/db"}}, None, id="no journal is in version 1"),
        pytest.param({"read": {"path": "database/static-creds/elile-journal"}}, None, id="a static credential"),
        pytest.param({"lease": {"path": "database/creds/shop"}}, None, id="a lease"),
    ],
)
def test_journals_and_inboxes_of_rotations_are_no_values(source: dict[str, Any], refused: str | None) -> None:
    observed = replace(access(vault_server()), secret=elile_secret(sources=[{"name": "main", **source}]))
    assert check_access(observed) == (
        Violation(
            Reason.SPEC_INVALID,
            f"spec.sources[main].{refused}, where VaultServer 'default' has the journals and inboxes of rotations "
            "(spec.journal.prefix 'elile-journal' there): name the path of a value",
        )
        if refused
        else None
    )


def test_the_server_says_where_its_journals_are() -> None:
    server = vault_server(journal={"prefix": "team/rotations"})
    reading = elile_secret(sources=[{"name": "main", "kv": {"path": "team/rotations/db"}}])
    assert check_access(Access(secret=reading, server=server, labels={})) is not None
    elsewhere = elile_secret(sources=[{"name": "main", "kv": {"path": "elile-journal/db"}}])
    assert check_access(Access(secret=elsewhere, server=server, labels={})) is None


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
        pytest.param(
            {},
            {"namespace": "team-a"},
            {"vault_namespace": "team-a", "login_namespace": "team-a"},
            id="namespace of the server, for the login too",
        ),
        pytest.param(
            {"vault": {"namespace": "web/blue"}},
            {"namespace": "team-a"},
            {"vault_namespace": "team-a/web/blue", "login_namespace": "team-a"},
            id="namespace below the server's, with a login at the server's",
        ),
        pytest.param(
            {"vault": {"namespace": "web"}}, {}, {"vault_namespace": "web"}, id="namespace below the root, login there"
        ),
        pytest.param(
            {},
            {"namespace": "team-a", "auth": {"jwt": {"namespace": "platform"}}},
            {"vault_namespace": "team-a", "login_namespace": "platform", "method": AuthMethod.JWT},
            id="login elsewhere, by jwt",
        ),
        pytest.param(
            {},
            {"namespace": "team-a", "auth": {"kubernetes": {"namespace": "root"}}},
            {"vault_namespace": "team-a", "login_namespace": None},
            id="login at the root",
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


WHO = {"server": "default", "role": "elile", "namespace": "shop", "service_account": "default"}


@pytest.mark.parametrize(
    ("source", "want"),
    [
        pytest.param(
            {"kv": {"path": "a", "engine": "v1"}},
            SourceRead(name="s", **WHO, mount="secret", path="a", version=None, engine=Engine.KV1),
            id="kv v1",
        ),
        pytest.param(
            {"read": {"path": "database/static-creds/shop"}},
            SourceRead(
                name="s",
                **WHO,
                mount="",
                path="database/static-creds/shop",
                version=None,
                engine=Engine.PATH,
                field="read",
            ),
            id="read",
        ),
        pytest.param(
            {"generate": {"kv": {"path": "a"}, "keys": {"k": {"uuid": {}}}}},
            SourceRead(name="s", **WHO, mount="secret", path="a", version=None, field="generate.kv"),
            id="generate",
        ),
        pytest.param(
            {"generate": {"kv": {"mount": "own", "path": "a"}, "keys": {"k": {"uuid": {}}}}},
            SourceRead(name="s", **WHO, mount="own", path="a", version=None, field="generate.kv"),
            id="generate in another mount",
        ),
        pytest.param(
            {"lease": {"path": "database/creds/shop"}},
            SourceIssue(name="s", **WHO, path="database/creds/shop", parameters=(), write=False, renew_at=0.67),
            id="lease",
        ),
        pytest.param(
            {"lease": {"path": "aws/sts/x", "method": "POST", "parameters": {"ttl": "1h", "a": "b"}, "renewAt": "50%"}},
            SourceIssue(
                name="s", **WHO, path="aws/sts/x", parameters=(("a", "b"), ("ttl", "1h")), write=True, renew_at=0.5
            ),
            id="lease with everything",
        ),
        pytest.param(
            {"pki": {"role": "web", "commonName": "shop.example.com"}},
            SourceIssue(
                name="s",
                **WHO,
                path="pki/issue/web",
                parameters=(("common_name", "shop.example.com"),),
                write=True,
                mount="pki",
                renew_at=0.67,
            ),
            id="certificate",
        ),
        pytest.param(
            {
                "pki": {
                    "mount": "ca/web",
                    "role": "web",
                    "issuer": "next",
                    "commonName": "shop.example.com",
                    "altNames": ["a.example.com", "b@example.com"],
                    "ipSans": ["192.0.2.7"],
                    "uriSans": ["spiffe://example.com/shop"],
                    "otherSans": ["1.3.6.1.4.1.311.20.2.3;UTF8:shop"],
                    "ttl": "1h30m",
                    "renewAt": "90%",
                    "privateKeyFormat": "PKCS8",
                }
            },
            SourceIssue(
                name="s",
                **WHO,
                path="ca/web/issuer/next/issue/web",
                parameters=(
                    ("common_name", "shop.example.com"),
                    ("alt_names", "a.example.com,b@example.com"),
                    ("ip_sans", "192.0.2.7"),
                    ("uri_sans", "spiffe://example.com/shop"),
                    ("other_sans", "1.3.6.1.4.1.311.20.2.3;UTF8:shop"),
                    ("ttl", "5400s"),
                    ("private_key_format", "pkcs8"),
                ),
                write=True,
                mount="ca/web",
                renew_at=0.9,
            ),
            id="certificate with everything",
        ),
    ],
)
def test_what_a_source_of_each_kind_asks_for(source: dict[str, Any], want: Planned) -> None:
    (planned,) = plan_reads(elile_secret(sources=[{"name": "s", **source}]), vault_server())
    assert planned == want
    if isinstance(planned, SourceIssue) and isinstance(want, SourceIssue):
        assert planned.renew_at == want.renew_at, "which is no part of what is compared"


def test_where_people_find_it() -> None:
    sources = [
        {"name": "kv", "kv": {"path": "a"}},
        {"name": "read", "read": {"path": "db/static-creds/x"}},
        {"name": "pki", "pki": {"role": "web", "commonName": "c"}},
    ]
    planned = plan_reads(elile_secret(sources=sources), vault_server())
    assert [(p.where, p.field) for p in planned] == [
        ("secret/a", "kv"),
        ("db/static-creds/x", "read"),
        ("pki/issue/web", "pki"),
    ]


def test_no_identity_of_another_namespace_can_be_asked_for() -> None:
    reads: tuple[Planned, ...] = plan_reads(
        elile_secret(metadata={"namespace": "web"}), vault_server(defaults={"serviceAccountName": "other"})
    )
    assert [(r.namespace, r.service_account) for r in reads] == [("web", "other")]
