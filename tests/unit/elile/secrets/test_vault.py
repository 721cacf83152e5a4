"""The client against a real OpenBao: each answer of the server becomes the value or the error that is promised."""

import base64
import contextlib
import json
import re
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import hvac
import hvac.exceptions
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from elile.secrets.answers import Flavor, KVMetadata, KVVersionState
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretDeletedError,
    SecretMountNotFoundError,
    SecretNamespaceNotFoundError,
    SecretNotFoundError,
    SecretsAuthenticationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsRateLimitedError,
    SecretsRoleNotFoundError,
    SecretsSealedError,
    SecretsUnavailableError,
    SecretVersionNotFoundError,
)
from elile.secrets.redact import SecretStr
from elile.secrets.transport import VaultEndpoint
from elile.secrets.vault import VaultClient
from tests.fakes.http import Authority, Exchange, ScriptedServer, answer, closed_port, json_answer
from tests.support.openbao import ROOT, Bao, running

CANARY = "canary-9e04"
ROLE = {"bound_service_account_names": "app", "bound_service_account_namespaces": "shop"}
READER = 'path "secret/data/open" { capabilities = ["read"] }'


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with running(tmp_path_factory.mktemp("bao")) as server:
        server.call("PUT", "sys/policies/acl/reader", {"policy": READER})
        yield server


@pytest.fixture(scope="module")
def client(bao: Bao) -> Iterator[VaultClient]:
    client = VaultClient(VaultEndpoint(address=bao.address))
    yield client
    client.close()


@contextlib.contextmanager
def fails(kind: type[SecretsError], text: str, *hidden: str) -> Iterator[None]:
    """Expect an error of exactly this class and text, that shows none of what must stay hidden."""
    with pytest.raises(SecretsError) as caught:
        yield
    assert (type(caught.value), str(caught.value)) == (kind, text)
    told = "".join([repr(caught.value), *traceback.format_exception(caught.value)])
    for word in (CANARY, *hidden):
        assert word not in told


def jwt(namespace: str = "shop", name: str = "app") -> SecretStr:
    """A ServiceAccount's token as to its form; whether it holds is the API server's word, and that is scripted."""
    claims = {
        "iss": "kubernetes/serviceaccount",
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "iat": int(time.time()) - 60,
        "nbf": int(time.time()) - 60,
        "exp": int(time.time()) + 86400,
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": "uid-1"}},
    }
    parts = (json.dumps({"alg": "RS256", "typ": "JWT"}).encode(), json.dumps(claims).encode(), CANARY.encode())
    return SecretStr(".".join(base64.urlsafe_b64encode(p).decode().rstrip("=") for p in parts))


class TestState:
    def test_a_server_that_is_ready(self, client: VaultClient) -> None:
        state = client.state()
        assert (state.flavor, state.initialized, state.sealed) == (Flavor.OPENBAO, True, False)
        assert re.fullmatch(r"\d+\.\d+\.\d+", state.version)
        assert re.fullmatch(r"[0-9a-f-]{36}", state.cluster_id)

    def test_a_server_of_the_other_product_that_was_never_initialised(self) -> None:
        body = {"type": "shamir", "initialized": False, "sealed": True, "version": "1.20.1", "cluster_id": None}
        with ScriptedServer(json_answer(200, body)) as server:
            client = VaultClient(VaultEndpoint(address=server.address))
            state = client.state()
            client.close()
        assert (state.flavor, state.version, state.initialized, state.sealed) == (Flavor.VAULT, "1.20.1", False, True)
        assert state.cluster_id == ""
        assert "x-vault-token" not in server.heard[0].headers
        assert "x-elile-object" not in server.heard[0].headers

    def test_something_that_is_no_vault(self) -> None:
        with ScriptedServer(json_answer(200, {"hello": CANARY})) as server:
            client = VaultClient(VaultEndpoint(address=server.address))
            detail = "sys/seal-status: the answer has not the shape the API promises (KeyError)"
            with fails(SecretsMalformedResponseError, detail):
                client.state()
            client.close()


class TestRead:
    def test_the_current_version_and_an_older_one(self, bao: Bao, client: VaultClient) -> None:
        old, new = {"k": "old"}, {"k": "nëw", "nested": {"list": [1, 2.5, None, True]}, "empty": ""}
        bao.write("both", old)
        bao.write("both", new)
        current = client.kv2_read(ROOT, mount="secret", path="both", on_behalf_of="shop/db")
        assert (current.version, current.data.reveal()) == (2, new)
        first = client.kv2_read(ROOT, mount="secret", path="both", version=1)
        assert (first.version, first.data.reveal()) == (1, old)

    def test_an_empty_entry(self, bao: Bao, client: VaultClient) -> None:
        bao.write("empty", {})
        assert client.kv2_read(ROOT, mount="secret", path="empty").data.reveal() == {}

    @pytest.mark.parametrize("path", ["a/b/c", "with space", "ümlaut", "a%2Fb", "a+b&c=d", "a:b@c"])
    def test_paths_arrive_as_they_are_written(self, path: str) -> None:
        entry = {"data": {"data": {}, "metadata": {"version": 1}}}
        with ScriptedServer(json_answer(200, entry)) as server:
            scripted = VaultClient(VaultEndpoint(address=server.address))
            scripted.kv2_read(ROOT, mount="secret", path=path)
            scripted.kv2_read(ROOT, mount="secret", path=path, version=3)
            scripted.close()
        assert [unquote(h.target) for h in server.heard] == [
            f"/v1/secret/data/{path}",
            f"/v1/secret/data/{path}?version=3",
        ]

    def test_a_mount_with_a_slash(self, bao: Bao, client: VaultClient) -> None:
        bao.call("POST", "sys/mounts/team/kv", {"type": "kv", "options": {"version": "2"}})
        wait_for_upgrade(bao, "team/kv")
        bao.write("app", {"k": "v"}, mount="team/kv")
        assert client.kv2_read(ROOT, mount="team/kv", path="app").data.reveal() == {"k": "v"}
        assert client.kv2_metadata(ROOT, mount="team/kv", path="app").current == 1

    def test_deleted(self, bao: Bao, client: VaultClient) -> None:
        bao.write("deleted", {"k": CANARY})
        bao.write("deleted", {"k": CANARY})
        bao.call("DELETE", "secret/data/deleted")
        with fails(SecretDeletedError, "secret/data/deleted: version 2 is deleted"):
            client.kv2_read(ROOT, mount="secret", path="deleted")
        with pytest.raises(SecretDeletedError) as caught:
            client.kv2_read(ROOT, mount="secret", path="deleted", version=2)
        error = caught.value
        assert (error.version, error.destroyed) == (2, False)
        assert error.deleted_at is not None
        assert abs(error.deleted_at - datetime.now(UTC)) < timedelta(minutes=1)
        assert client.kv2_read(ROOT, mount="secret", path="deleted", version=1).version == 1

    def test_destroyed(self, bao: Bao, client: VaultClient) -> None:
        bao.write("destroyed", {"k": CANARY})
        bao.call("PUT", "secret/destroy/destroyed", {"versions": [1]})
        with pytest.raises(SecretDeletedError) as caught:
            client.kv2_read(ROOT, mount="secret", path="destroyed")
        assert str(caught.value) == "secret/data/destroyed: version 1 is destroyed"
        assert (caught.value.version, caught.value.deleted_at, caught.value.destroyed) == (1, None, True)

    def test_an_undeleted_version_is_back(self, bao: Bao, client: VaultClient) -> None:
        bao.write("undeleted", {"k": "v"})
        bao.call("DELETE", "secret/data/undeleted")
        bao.call("POST", "secret/undelete/undeleted", {"versions": [1]})
        assert client.kv2_read(ROOT, mount="secret", path="undeleted").version == 1

    def test_missing_version(self, bao: Bao, client: VaultClient) -> None:
        bao.write("versions", {"k": CANARY})
        with fails(SecretVersionNotFoundError, "secret/data/versions: version 7 does not exist"):
            client.kv2_read(ROOT, mount="secret", path="versions", version=7)

    def test_pruned_version(self, bao: Bao, client: VaultClient) -> None:
        bao.call("POST", "secret/metadata/pruned", {"max_versions": 1})
        bao.write("pruned", {"k": "1"})
        bao.write("pruned", {"k": "2"})
        with fails(SecretVersionNotFoundError, "secret/data/pruned: version 1 does not exist"):
            client.kv2_read(ROOT, mount="secret", path="pruned", version=1)
        assert client.kv2_metadata(ROOT, mount="secret", path="pruned").versions.keys() == {2}

    def test_missing_path(self, client: VaultClient) -> None:
        with fails(SecretNotFoundError, "secret/data/nowhere: nothing is stored there"):
            client.kv2_read(ROOT, mount="secret", path="nowhere")

    def test_path_of_which_all_was_removed(self, bao: Bao, client: VaultClient) -> None:
        bao.write("removed", {"k": "v"})
        bao.call("DELETE", "secret/metadata/removed")
        with fails(SecretNotFoundError, "secret/data/removed: nothing is stored there"):
            client.kv2_read(ROOT, mount="secret", path="removed")

    @pytest.mark.parametrize(
        ("body", "confirmed"),
        [({"errors": []}, True), ({"errors": ["unsupported path"]}, False), ({"message": "Not Found"}, False)],
        ids=["of the server", "with an error", "of a proxy"],
    )
    @pytest.mark.parametrize("call", ["kv2_read", "kv2_metadata"])
    def test_only_the_server_can_say_that_a_path_is_missing(
        self, call: str, body: dict[str, object], confirmed: bool
    ) -> None:
        with ScriptedServer(json_answer(404, body)) as server:
            client = VaultClient(VaultEndpoint(address=server.address))
            with pytest.raises(SecretNotFoundError) as caught:
                getattr(client, call)(ROOT, mount="secret", path="app")
            client.close()
        assert caught.value.confirmed is confirmed

    def test_a_missing_path_is_confirmed(self, client: VaultClient) -> None:
        for call in (client.kv2_read, client.kv2_metadata):
            with pytest.raises(SecretNotFoundError) as caught:
                call(ROOT, mount="secret", path="nowhere")
            assert caught.value.confirmed

    def test_missing_mount(self, client: VaultClient) -> None:
        with fails(SecretMountNotFoundError, "nomount/data/app: nothing is mounted there"):
            client.kv2_read(ROOT, mount="nomount", path="app")

    def test_permission_denied(self, bao: Bao, client: VaultClient) -> None:
        bao.write("open", {"k": "v"})
        bao.write("forbidden", {"k": CANARY})
        token = bao.token(policies=["reader"])
        assert client.kv2_read(token, mount="secret", path="open").data.reveal() == {"k": "v"}
        for path in ("forbidden", "nowhere"):
            with fails(SecretAccessDeniedError, f"secret/data/{path}: permission denied", token.reveal()):
                client.kv2_read(token, mount="secret", path=path)

    def test_a_token_that_nobody_gave(self, client: VaultClient) -> None:
        with fails(SecretAccessDeniedError, "secret/data/open: permission denied"):
            client.kv2_read(SecretStr(CANARY), mount="secret", path="open")

    def test_kv_of_the_first_version_does_not_pass_for_the_second(self, bao: Bao, client: VaultClient) -> None:
        bao.call("POST", "sys/mounts/kv1", {"type": "kv", "options": {"version": "1"}})
        bao.call("POST", "kv1/app", {"k": CANARY})
        with fails(SecretNotFoundError, "kv1/data/app: nothing is stored there"):
            client.kv2_read(ROOT, mount="kv1", path="app")
        bao.call("POST", "kv1/data/odd", {"k": CANARY})
        detail = "kv1/data/odd: the answer has not the shape the API promises (KeyError)"
        with fails(SecretsMalformedResponseError, detail):
            client.kv2_read(ROOT, mount="kv1", path="odd")

    def test_a_wrapped_value_is_all_that_a_caller_can_print(self, bao: Bao, client: VaultClient) -> None:
        bao.write("printed", {"k": CANARY})
        value = client.kv2_read(ROOT, mount="secret", path="printed")
        assert CANARY not in f"{value} {value!r}"


class TestMetadata:
    def test_each_version_with_its_state(self, bao: Bao, client: VaultClient) -> None:
        for number in range(4):
            bao.write("states", {"k": number})
        bao.call("POST", "secret/delete/states", {"versions": [2]})
        bao.call("PUT", "secret/destroy/states", {"versions": [3]})
        found = client.kv2_metadata(ROOT, mount="secret", path="states", on_behalf_of="shop/db")
        assert found == KVMetadata(
            4,
            {
                1: KVVersionState(deleted=False, destroyed=False),
                2: KVVersionState(deleted=True, destroyed=False),
                3: KVVersionState(deleted=False, destroyed=True),
                4: KVVersionState(deleted=False, destroyed=False),
            },
        )
        assert [number for number, state in found.versions.items() if state.readable] == [1, 4]

    def test_a_version_that_is_to_be_deleted_later_is_readable_until_then(self, bao: Bao, client: VaultClient) -> None:
        bao.call("POST", "secret/metadata/later", {"delete_version_after": "1h"})
        bao.write("later", {"k": "v"})
        assert client.kv2_metadata(ROOT, mount="secret", path="later").versions[1].readable
        assert client.kv2_read(ROOT, mount="secret", path="later").version == 1

    def test_a_version_whose_time_has_come_is_deleted_for_both_calls(self, bao: Bao, client: VaultClient) -> None:
        bao.call("POST", "secret/metadata/soon", {"delete_version_after": "1s"})
        bao.write("soon", {"k": "v"})
        deadline = time.monotonic() + 10
        while client.kv2_metadata(ROOT, mount="secret", path="soon").versions[1].readable:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with fails(SecretDeletedError, "secret/data/soon: version 1 is deleted"):
            client.kv2_read(ROOT, mount="secret", path="soon")

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05+00:00"),
            ("2024-01-02T03:04:05.987654321Z", "2024-01-02T03:04:05.987654+00:00"),
            ("2024-01-02T03:04:05.9+02:00", "2024-01-02T01:04:05.900000+00:00"),
            ("2024-01-02T03:04:05", "2024-01-02T03:04:05+00:00"),
            ("", None),
        ],
    )
    def test_times_are_read_to_their_fraction_and_in_their_zone(self, given: str, expected: str | None) -> None:
        entry = {"data": {"data": None, "metadata": {"version": 1, "deletion_time": given, "destroyed": True}}}
        with ScriptedServer(json_answer(404, entry)) as server:
            client = VaultClient(VaultEndpoint(address=server.address))
            with pytest.raises(SecretDeletedError) as caught:
                client.kv2_read(ROOT, mount="secret", path="app")
            client.close()
        moment = caught.value.deleted_at
        assert (moment and moment.astimezone(UTC).isoformat()) == expected

    def test_a_fraction_of_a_second_before_its_end_a_version_is_readable(self) -> None:
        while datetime.now(UTC).microsecond > 500_000:
            time.sleep(0.05)
        end = datetime.now(UTC).replace(microsecond=999_999)
        data = {"current_version": 1, "versions": {"1": {"deletion_time": end.isoformat(), "destroyed": False}}}
        with ScriptedServer(json_answer(200, {"data": data})) as server:
            client = VaultClient(VaultEndpoint(address=server.address))
            readable = client.kv2_metadata(ROOT, mount="secret", path="app").versions[1].readable
            client.close()
        assert readable or datetime.now(UTC) > end

    def test_an_entry_without_versions(self, bao: Bao, client: VaultClient) -> None:
        bao.call("POST", "secret/metadata/bare", {"max_versions": 3})
        assert client.kv2_metadata(ROOT, mount="secret", path="bare") == KVMetadata(0, {}, max_versions=3)

    def test_what_a_token_may_do_is_told_for_each_path(self, bao: Bao, client: VaultClient) -> None:
        bao.call("PUT", "sys/policies/acl/reads", {"policy": 'path "secret/data/a" { capabilities = ["read"] }'})
        token = bao.token(policies=["reads", "default"])
        paths = ["secret/data/a", "secret/data/b"]
        assert client.capabilities(token, paths) == {paths[0]: frozenset({"read"}), paths[1]: frozenset({"deny"})}
        assert client.capabilities(ROOT, paths)[paths[1]] == frozenset({"root"})

    def test_missing_path(self, client: VaultClient) -> None:
        with fails(SecretNotFoundError, "secret/metadata/nowhere: nothing is stored there"):
            client.kv2_metadata(ROOT, mount="secret", path="nowhere")

    def test_missing_mount(self, client: VaultClient) -> None:
        with fails(SecretMountNotFoundError, "nomount/metadata/app: nothing is mounted there"):
            client.kv2_metadata(ROOT, mount="nomount", path="app")

    def test_permission_denied(self, bao: Bao, client: VaultClient) -> None:
        with fails(SecretAccessDeniedError, "secret/metadata/open: permission denied"):
            client.kv2_metadata(bao.token(policies=["reader"]), mount="secret", path="open")


class TestTokens:
    def test_renewal_grants_its_time_anew(self, bao: Bao, client: VaultClient) -> None:
        token = bao.token(policies=["default"], ttl="90s", period="90s")
        renewed = client.renew(token)
        assert renewed.token == token
        assert renewed.renewable
        assert 85 <= renewed.ttl <= 90

    def test_near_its_maximum_age_less_is_granted(self, bao: Bao, client: VaultClient) -> None:
        renewed = client.renew(bao.token(policies=["default"], ttl="90s", explicit_max_ttl="95s"))
        assert 80 <= renewed.ttl <= 95

    def test_a_token_that_cannot_be_renewed(self, bao: Bao, client: VaultClient) -> None:
        token = bao.token(policies=["default"], ttl="60s", renewable=False)
        detail = "auth/token/renew-self: refused the request with 400"
        with fails(SecretsMalformedResponseError, detail, token.reveal()):
            client.renew(token)

    def test_a_revoked_token_is_worth_nothing(self, bao: Bao, client: VaultClient) -> None:
        token = bao.token(policies=["default"])
        assert client.is_valid(token)
        client.revoke(token)
        assert not client.is_valid(token)
        with fails(SecretAccessDeniedError, "auth/token/renew-self: permission denied", token.reveal()):
            client.renew(token)
        with fails(SecretAccessDeniedError, "auth/token/revoke-self: permission denied", token.reveal()):
            client.revoke(token)

    def test_a_token_that_may_look_at_nothing_passes_for_invalid(self, bao: Bao, client: VaultClient) -> None:
        assert not client.is_valid(bao.token(policies=["reader"], no_default_policy=True))

    def test_a_token_is_not_called_invalid_when_the_server_does_not_say(self) -> None:
        client = VaultClient(VaultEndpoint(address=f"http://127.0.0.1:{closed_port()}"))
        with fails(SecretsUnavailableError, "auth/token/lookup-self: connection failed: ECONNREFUSED"):
            client.is_valid(SecretStr(CANARY))
        client.close()


def test_an_error_of_hvac_itself_is_told_by_its_kind_alone(
    client: VaultClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise hvac.exceptions.ParamValidationError(CANARY)

    monkeypatch.setattr(hvac.api.auth_methods.Token, "revoke_self", refuse)
    with fails(SecretsUnavailableError, "auth/token/revoke-self: hvac gave up: ParamValidationError"):
        client.revoke(ROOT)


def wait_for_upgrade(bao: Bao, mount: str) -> None:
    """A mount of kv v2 refuses everything for a moment after it was made."""
    deadline = time.monotonic() + 10
    while True:
        try:
            bao.call("GET", f"{mount}/config")
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


def review(exchange: Exchange) -> None:
    """Answer as an API server that knows the ServiceAccount `app` of `shop`."""
    asked = json.loads(exchange.heard.body)
    good = asked["spec"]["token"] == jwt_known.reveal()
    user = {"username": "system:serviceaccount:shop:app", "uid": "uid-1", "groups": ["system:serviceaccounts"]}
    status = {"authenticated": True, "user": user} if good else {"authenticated": False, "error": CANARY}
    exchange.send(json_answer(201, {**asked, "status": status}))


jwt_known = jwt()


@pytest.fixture(scope="module")
def kubernetes(bao: Bao) -> Iterator[str]:
    """The mount of an auth method that believes a scripted API server."""
    with ScriptedServer(review) as apiserver:
        bao.call("POST", "sys/auth/k8s/main", {"type": "kubernetes"})
        config = {"kubernetes_host": apiserver.address, "token_reviewer_jwt": jwt("kube-system", "reviewer").reveal()}
        config |= {"disable_local_ca_jwt": True, "kubernetes_ca_cert": Authority().pem}  # demanded, though it is http
        bao.call("POST", "auth/k8s/main/config", config)
        bao.call("POST", "auth/k8s/main/role/app", {**ROLE, "token_policies": "reader", "token_ttl": "70s"})
        bao.call("POST", "auth/k8s/main/role/batch", {**ROLE, "token_type": "batch", "token_ttl": "70s"})
        bao.call("POST", "auth/k8s/main/role/other", {**ROLE, "bound_service_account_names": "other"})
        yield "k8s/main"


class TestLogin:
    def test_a_token_that_reads_what_the_role_allows(self, bao: Bao, client: VaultClient, kubernetes: str) -> None:
        bao.write("open", {"k": "v"})
        login = client.login_kubernetes(mount=kubernetes, role="app", jwt=jwt_known, on_behalf_of="shop/db")
        assert (login.ttl, login.renewable) == (70.0, True)
        assert client.kv2_read(login.token, mount="secret", path="open").data.reveal() == {"k": "v"}
        assert login.token.reveal() not in f"{login} {login!r}"
        client.revoke(login.token)

    def test_a_token_that_cannot_be_renewed_says_so(self, client: VaultClient, kubernetes: str) -> None:
        login = client.login_kubernetes(mount=kubernetes, role="batch", jwt=jwt_known)
        assert (login.ttl, login.renewable) == (70.0, False)

    def test_unknown_role(self, client: VaultClient, kubernetes: str) -> None:
        text = "auth/k8s/main/login: the auth method knows no such role"
        with fails(SecretsRoleNotFoundError, text, jwt_known.reveal()):
            client.login_kubernetes(mount=kubernetes, role="nobody", jwt=jwt_known)

    @pytest.mark.parametrize(
        ("role", "token"),
        [
            pytest.param("other", jwt_known, id="role for another ServiceAccount"),
            pytest.param("app", jwt("shop", "app2"), id="ServiceAccount that the role does not name"),
            pytest.param("app", SecretStr(jwt_known.reveal() + "x"), id="token that the API server refuses"),
            pytest.param("app", SecretStr(CANARY), id="no token at all"),
        ],
    )
    def test_refused(self, client: VaultClient, kubernetes: str, role: str, token: SecretStr) -> None:
        text = "auth/k8s/main/login: the login was refused"
        with fails(SecretsAuthenticationError, text, token.reveal()):
            client.login_kubernetes(mount=kubernetes, role=role, jwt=token)

    def test_unknown_auth_method(self, client: VaultClient) -> None:
        # The server says 403 to whoever has no token: it does not tell whether a mount exists.
        text = "auth/nomethod/login: the login was refused"
        with fails(SecretsAuthenticationError, text, jwt_known.reveal()):
            client.login_kubernetes(mount="nomethod", role="app", jwt=jwt_known)

    def test_auth_method_that_was_never_configured(self, bao: Bao, client: VaultClient) -> None:
        bao.call("POST", "sys/auth/bare", {"type": "kubernetes"})
        with fails(SecretsRoleNotFoundError, "auth/bare/login: the auth method knows no such role"):
            client.login_kubernetes(mount="bare", role="app", jwt=jwt_known)
        bao.call("POST", "auth/bare/role/app", ROLE)  # the role is looked for before the configuration
        with fails(SecretsAuthenticationError, "auth/bare/login: the login was refused", jwt_known.reveal()):
            client.login_kubernetes(mount="bare", role="app", jwt=jwt_known)

    def test_auth_method_of_another_kind(self, bao: Bao, client: VaultClient) -> None:
        bao.call("POST", "sys/auth/people", {"type": "userpass"})
        with pytest.raises(SecretsError) as caught:
            client.login_kubernetes(mount="people", role="app", jwt=jwt_known)
        assert jwt_known.reveal() not in "".join(traceback.format_exception(caught.value))

    @pytest.mark.parametrize(
        ("given", "kind", "detail"),
        [
            pytest.param(answer(204), SecretsMalformedResponseError, "(TypeError)", id="nothing"),
            pytest.param(json_answer(200, {"auth": None}), SecretsMalformedResponseError, "(TypeError)", id="no login"),
            pytest.param(
                json_answer(200, {"auth": {"client_token": CANARY, "lease_duration": CANARY, "renewable": True}}),
                SecretsMalformedResponseError,
                "(ValueError)",
                id="odd time",
            ),
            pytest.param(
                json_answer(200, {"auth": {"client_token": CANARY, "lease_duration": 10**400, "renewable": True}}),
                SecretsMalformedResponseError,
                "(OverflowError)",
                id="time without end",
            ),
            pytest.param(json_answer(500, {"errors": [CANARY]}), SecretsUnavailableError, "answered 500", id="500"),
            pytest.param(
                json_answer(429, {"errors": [CANARY]}), SecretsRateLimitedError, "the server throttles", id="429"
            ),
            pytest.param(
                json_answer(503, {"errors": ["Vault is sealed"]}),
                SecretsSealedError,
                "sealed, not initialised or standby",
                id="sealed",
            ),
            pytest.param(
                json_answer(404, {"errors": [f'no handler for route "{CANARY}"']}),
                SecretMountNotFoundError,
                "nothing is mounted there",
                id="Vault tells that the mount is missing",
            ),
            pytest.param(
                answer(403, f"<p>{CANARY}".encode()),
                SecretsMalformedResponseError,
                "answered 403 with a body that is not JSON",
                id="page of a proxy is no refusal",
            ),
        ],
    )
    def test_answers_that_no_real_server_gives_here(self, given: bytes, kind: type[SecretsError], detail: str) -> None:
        if detail.startswith("("):
            detail = f"the answer has not the shape the API promises {detail}"
        with ScriptedServer(given) as server:
            client = VaultClient(VaultEndpoint(address=server.address))
            with fails(kind, f"auth/kubernetes/login: {detail}", jwt_known.reveal()):
                client.login_kubernetes(mount="kubernetes", role="app", jwt=jwt_known)
            client.close()


class TestThrottled:
    def test_a_quota_of_the_server(self, bao: Bao, client: VaultClient) -> None:
        bao.call("POST", "sys/mounts/busy", {"type": "kv", "options": {"version": "2"}})
        wait_for_upgrade(bao, "busy")
        bao.call("POST", "sys/quotas/rate-limit/busy", {"path": "busy/", "rate": 1, "interval": "60s"})
        with contextlib.suppress(SecretNotFoundError):
            client.kv2_read(ROOT, mount="busy", path="app")
        for headers in (False, True):
            bao.call("POST", "sys/quotas/config", {"enable_rate_limit_response_headers": headers})
            with pytest.raises(SecretsRateLimitedError) as caught:
                client.kv2_read(ROOT, mount="busy", path="app")
            assert str(caught.value) == "busy/data/app: the server throttles"
            if headers:
                assert 0 <= (caught.value.retry_after or 0) <= 60
            assert (caught.value.retry_after is not None) is headers


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultClient]:
    with running(tmp_path_factory.mktemp("sealed")) as bao:
        bao.write("app", {"k": CANARY})
        bao.call("PUT", "sys/seal")
        client = VaultClient(VaultEndpoint(address=bao.address))
        yield client
        client.close()


class TestSealed:
    def test_the_state_says_so(self, sealed: VaultClient) -> None:
        state = sealed.state()
        assert (state.flavor, state.initialized, state.sealed) == (Flavor.OPENBAO, True, True)
        assert state.cluster_id == ""

    def test_every_other_call_fails_as_sealed(self, sealed: VaultClient) -> None:
        detail = "sealed, not initialised or standby"
        with fails(SecretsSealedError, f"secret/data/app: {detail}"):
            sealed.kv2_read(ROOT, mount="secret", path="app")
        with fails(SecretsSealedError, f"secret/metadata/app: {detail}"):
            sealed.kv2_metadata(ROOT, mount="secret", path="app")
        with fails(SecretsSealedError, f"auth/kubernetes/login: {detail}"):
            sealed.login_kubernetes(mount="kubernetes", role="app", jwt=jwt_known)
        with fails(SecretsSealedError, f"auth/token/renew-self: {detail}"):
            sealed.renew(ROOT)
        with fails(SecretsSealedError, f"auth/token/revoke-self: {detail}"):
            sealed.revoke(ROOT)
        with fails(SecretsSealedError, f"auth/token/lookup-self: {detail}"):
            sealed.is_valid(ROOT)


SIGNER = ec.generate_private_key(ec.SECP256R1())


def signed(*audiences: str, namespace: str = "shop") -> SecretStr:
    """A ServiceAccount's token with a signature that holds."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    now = int(time.time())
    claims = {"sub": f"system:serviceaccount:{namespace}:app", "aud": audiences, "nbf": now - 60, "iat": now - 60}
    claims |= {"exp": now + 600, "kubernetes.io": {"namespace": namespace}}
    text = f"{part(json.dumps({'alg': 'ES256'}).encode())}.{part(json.dumps(claims).encode())}"
    r, s = decode_dss_signature(SIGNER.sign(text.encode(), ec.ECDSA(SHA256())))
    return SecretStr(f"{text}.{part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}")


@pytest.fixture(scope="module")
def jwt_mount(bao: Bao) -> str:
    """The mount of an auth method that checks signatures itself, in the namespace `blues`."""
    bao.call("POST", "sys/namespaces/blues", {})
    bao.call("POST", "blues/sys/auth/blue", {"type": "jwt"})
    key = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    bao.call("POST", "blues/auth/blue/config", {"jwt_validation_pubkeys": [key]})
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["elile", "others"], "token_policies": "reader"}
    bound = {"bound_claims": {"/kubernetes.io/namespace": "shop"}}
    bao.call("POST", "blues/auth/blue/role/app", {**role, **bound, "token_ttl": "70s"})
    bao.call("PUT", "blues/sys/policies/acl/reader", {"policy": READER.replace("secret/", "inner/kv/")})
    return "blue"


class TestNamespaces:
    def test_a_login_by_jwt_in_a_namespace(self, client: VaultClient, jwt_mount: str) -> None:
        inside = client.within("blues")
        login = inside.login_jwt(mount=jwt_mount, role="app", jwt=signed("vault", "others"), on_behalf_of="shop/db")
        assert (login.ttl, login.renewable) == (70.0, True)
        assert inside.renew(login.token).ttl == 70.0
        inside.revoke(login.token)
        with fails(SecretAccessDeniedError, "auth/token/renew-self: permission denied", login.token.reveal()):
            inside.renew(login.token)

    @pytest.mark.parametrize(
        ("role", "token", "kind", "detail"),
        [
            pytest.param("nobody", signed("elile"), SecretsRoleNotFoundError, "the auth method knows no such role"),
            pytest.param("app", signed("vault"), SecretsAuthenticationError, "the login was refused", id="audience"),
            pytest.param(
                "app", signed("elile", namespace="web"), SecretsAuthenticationError, "the login was refused", id="claim"
            ),
            pytest.param("app", jwt_known, SecretsAuthenticationError, "the login was refused", id="signature"),
        ],
    )
    def test_a_login_by_jwt_that_is_refused(
        self, client: VaultClient, jwt_mount: str, role: str, token: SecretStr, kind: type[SecretsError], detail: str
    ) -> None:
        with fails(kind, f"auth/blue/login: {detail}", token.reveal()):
            client.within("blues").login_jwt(mount=jwt_mount, role=role, jwt=token)

    def test_an_auth_method_without_keys_refuses(self, bao: Bao, client: VaultClient) -> None:
        bao.call("POST", "sys/auth/keyless", {"type": "jwt"})
        with fails(SecretsAuthenticationError, "auth/keyless/login: the login was refused"):
            client.login_jwt(mount="keyless", role="app", jwt=signed("elile"))

    def test_a_token_of_the_parent_reads_in_the_child(self, bao: Bao, client: VaultClient, jwt_mount: str) -> None:
        bao.call("POST", "blues/sys/namespaces/inner", {})
        bao.call("POST", "blues/inner/sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
        wait_for_upgrade(bao, "blues/inner/kv")
        bao.write("open", {"k": "inside"}, mount="blues/inner/kv")
        login = client.within("blues").login_jwt(mount=jwt_mount, role="app", jwt=signed("elile"))
        inner = client.within("blues/inner")
        assert inner.kv2_read(login.token, mount="kv", path="open").data.reveal() == {"k": "inside"}
        with fails(SecretAccessDeniedError, "kv/data/open: permission denied"):
            client.within("blues").kv2_read(login.token, mount="kv", path="open")

    def test_a_namespace_that_does_not_exist_is_no_missing_path(self, client: VaultClient) -> None:
        nowhere = client.within("nowhere")
        with fails(SecretNamespaceNotFoundError, "secret/data/open: the namespace does not exist"):
            nowhere.kv2_read(ROOT, mount="secret", path="open")
        with fails(SecretNamespaceNotFoundError, "auth/jwt/login: the namespace does not exist"):
            nowhere.login_jwt(mount="jwt", role="app", jwt=signed("elile"))

    def test_the_client_itself_stays_where_it_is(self, client: VaultClient) -> None:
        assert client.within("blues").endpoint.namespace == "blues"
        assert client.within(None) is client
        assert client.endpoint.namespace is None
        assert client.within("blues").within(None).endpoint == client.endpoint
