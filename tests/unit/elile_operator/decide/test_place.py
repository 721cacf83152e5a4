"""Where a schedule's value is, as whom it is rotated, and what says that it cannot be."""

from dataclasses import replace
from typing import Any

import pytest

from elile.secrets.errors import SecretAccessDeniedError, SecretsError, SecretsUnavailableError
from elile_operator.api.auth import AuthMethod
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.reasons import Reason
from elile_operator.decide.place import Place, explain_rotator, find_place, recorded_place
from elile_operator.decide.violation import Violation
from tests.fakes.objects import elile_secret, rotation_schedule, vault_server

PLACE = Place(
    server="default",
    vault_namespace=None,
    mount="secret",
    path="shop/db",
    prefix="elile-journal",
    role="elile-rotator",
    namespace="shop",
    service_account="rotator",
)
LIVE = {"server": "default", "mount": "old", "path": "before", "prefix": "journals"}


def secret_of(source: dict[str, Any], **spec: Any) -> ElileSecret:
    return elile_secret(sources=[{"name": "main", **source}, {"name": "other", "kv": {"path": "o"}}], **spec)


@pytest.mark.parametrize(
    ("secret", "server", "want"),
    [
        pytest.param(elile_secret(), {}, {}, id="as the spec says"),
        pytest.param(
            secret_of({"kv": {"mount": "kv", "path": "a/b"}}, vault={"namespace": "web"}),
            {
                "namespace": "team",
                "journal": {"prefix": "j"},
                "auth": {"jwt": {"namespace": "root"}},
                "defaults": {"role": "reader", "serviceAccountName": "reader"},
            },
            {
                "vault_namespace": "team/web",
                "mount": "kv",
                "path": "a/b",
                "prefix": "j",
                "method": AuthMethod.JWT,
            },
            id="a rotator inherits no reader's login",
        ),
    ],
)
def test_the_place_of_a_value(secret: ElileSecret, server: dict[str, Any], want: dict[str, Any]) -> None:
    assert find_place(rotation_schedule(), secret, vault_server(**server), {}) == replace(PLACE, **want)


def test_how_people_write_it() -> None:
    assert (PLACE.where, PLACE.journal) == ("secret/shop/db", "secret/elile-journal/shop/db")
    named = replace(PLACE, vault_namespace="team")
    assert (named.where, named.journal) == ("team/secret/shop/db", "team/secret/elile-journal/shop/db")


@pytest.mark.parametrize(
    ("secret", "reason", "message"),
    [
        pytest.param(
            None,
            Reason.ELILE_SECRET_NOT_FOUND,
            "spec.secretRef.name names ElileSecret 'db', which does not exist in this namespace; create it or correct "
            "the name",
            id="no ElileSecret",
        ),
        pytest.param(
            elile_secret(sources=[{"name": "a", "kv": {"path": "a"}}, {"name": "b", "kv": {"path": "b"}}]),
            Reason.SOURCE_NOT_ROTATABLE,
            "spec.secretRef.source names 'main', which ElileSecret 'db' has not: name one of a, b",
            id="no such source",
        ),
        pytest.param(
            secret_of({"read": {"path": "database/static-creds/shop"}}),
            Reason.SOURCE_NOT_ROTATABLE,
            "source 'main' of ElileSecret 'db' is not of kind kv, version 2: only what is kept there can be replaced; "
            "Vault's own engines rotate what they make",
            id="a read",
        ),
        pytest.param(
            secret_of({"kv": {"engine": "v1", "path": "a"}}),
            Reason.SOURCE_NOT_ROTATABLE,
            "source 'main' of ElileSecret 'db' is not of kind kv, version 2: only what is kept there can be replaced; "
            "Vault's own engines rotate what they make",
            id="version 1",
        ),
        pytest.param(
            secret_of({"lease": {"path": "database/creds/shop"}}),
            Reason.SOURCE_NOT_ROTATABLE,
            "source 'main' of ElileSecret 'db' is not of kind kv, version 2: only what is kept there can be replaced; "
            "Vault's own engines rotate what they make",
            id="a lease",
        ),
        pytest.param(
            secret_of({"generate": {"kv": {"path": "a"}, "keys": {"k": {"password": {"length": 32}}}}}),
            Reason.SOURCE_NOT_ROTATABLE,
            "source 'main' of ElileSecret 'db' is not of kind kv, version 2: only what is kept there can be replaced; "
            "Vault's own engines rotate what they make",
            id="generated once",
        ),
        pytest.param(
            secret_of({"kv": {"path": "a", "version": 7}}),
            Reason.SOURCE_NOT_ROTATABLE,
            "source 'main' of ElileSecret 'db' is pinned to version 7 and would never see another value: remove "
            "kv.version",
            id="pinned",
        ),
        pytest.param(
            secret_of({"kv": {"path": "elile-journal-inbox/db"}}),
            Reason.SOURCE_NOT_ROTATABLE,
            "source 'main' of ElileSecret 'db' is below 'elile-journal', where VaultServer 'default' keeps journals: "
            "move the value, or change spec.journal.prefix there",
            id="reserved",
        ),
        pytest.param(
            elile_secret(
                sources=[{"name": "main", "kv": {"path": "a"}}, {"name": "b", "kv": {"path": "elile-journal"}}]
            ),
            Reason.SPEC_INVALID,
            "ElileSecret 'db': spec.sources[b].kv.path is 'elile-journal', where VaultServer 'default' has the "
            "journals and inboxes of rotations (spec.journal.prefix 'elile-journal' there): name the path of a value",
            id="another source is reserved",
        ),
    ],
)
def test_what_cannot_be_rotated(secret: ElileSecret | None, reason: Reason, message: str) -> None:
    assert find_place(rotation_schedule(), secret, vault_server(), {}) == Violation(reason, message)


def test_a_server_that_may_not_be_used() -> None:
    refused = find_place(rotation_schedule(), elile_secret(), None, {})
    assert refused == Violation(
        Reason.SERVER_NOT_FOUND,
        "ElileSecret 'db': spec.vault.server names VaultServer 'default', which does not exist; create it or correct "
        "the name",
    )
    closed = find_place(rotation_schedule(), elile_secret(), vault_server(allowedNamespaces={"names": []}), {})
    assert isinstance(closed, Violation)
    assert closed.reason is Reason.NAMESPACE_NOT_ALLOWED


# ── a run that is under way ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("server", "login", "method"),
    [
        pytest.param({}, None, AuthMethod.KUBERNETES, id="at the root"),
        pytest.param({"namespace": "team"}, "team", AuthMethod.KUBERNETES, id="at the server's"),
        pytest.param(
            {"namespace": "team", "auth": {"kubernetes": {"namespace": "root"}}},
            None,
            AuthMethod.KUBERNETES,
            id="at the root, by name",
        ),
        pytest.param(
            {"namespace": "team", "auth": {"jwt": {"namespace": "other"}}}, "other", AuthMethod.JWT, id="elsewhere"
        ),
    ],
)
def test_it_keeps_to_where_it_began(server: dict[str, Any], login: str | None, method: AuthMethod) -> None:
    schedule = rotation_schedule(status={"livePath": {**LIVE, "namespace": "then"}})
    assert recorded_place(schedule, vault_server(**server)) == replace(
        PLACE,
        vault_namespace="then",
        mount="old",
        path="before",
        prefix="journals",
        method=method,
        login_namespace=login,
    )


def test_where_it_began_is_not_known() -> None:
    assert recorded_place(rotation_schedule(), vault_server()) is None
    elsewhere = rotation_schedule(status={"livePath": {**LIVE, "server": "other"}})
    assert recorded_place(elsewhere, vault_server()) is None


# ── what Vault answers ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        pytest.param(
            SecretAccessDeniedError("the policy does not allow update", path="secret/data/shop/db"),
            Reason.PERMISSION_DENIED,
            "secret/shop/db cannot be rotated by ServiceAccount shop/rotator with role 'elile-rotator': "
            "secret/data/shop/db: the policy does not allow update; correct spec.vault, or what Vault's role and "
            "policy allow it",
            id="denied",
        ),
        pytest.param(SecretsUnavailableError("no answer"), Reason.VAULT_UNREACHABLE, None, id="away"),
    ],
)
def test_an_error_of_a_call_as_the_rotator(error: SecretsError, reason: Reason, message: str | None) -> None:
    found = explain_rotator(error, PLACE, "https://vault.example")
    assert found.reason is reason
    if message is not None:
        assert found.message == message
    else:
        assert "https://vault.example" in found.message
