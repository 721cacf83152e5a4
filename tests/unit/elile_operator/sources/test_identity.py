"""A token of the tenant's own ServiceAccount, or the reason why there is none."""

import base64
import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest

from elile.secrets.redact import SecretStr
from elile_operator.api.auth import AuthMethod
from elile_operator.api.reasons import Reason
from elile_operator.decide.access import SourceRead
from elile_operator.kube.errors import (
    KubeError,
    KubeForbiddenError,
    KubeInvalidError,
    KubeNotFoundError,
    KubeThrottledError,
    KubeUnavailableError,
)
from elile_operator.sources.identity import Identity, IdentityError, ServiceAccountToken, TokenRequests

WHO = Identity("default", "elile", "shop", "app")


def jwt(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"header.{payload}.signature"


class Api:
    """The part of a KubeClient that makes tokens."""

    def __init__(self, answer: str | KubeError) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, str, int]] = []

    async def request_token(
        self, namespace: str, service_account: str, *, audience: str, seconds: int
    ) -> tuple[SecretStr, dt.datetime]:
        self.asked.append((namespace, service_account, audience, seconds))
        if isinstance(self.answer, KubeError):
            raise self.answer
        return SecretStr(self.answer), dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


def requests(api: Api) -> TokenRequests:
    return TokenRequests(api, account="elile-system:elile-operator")  # type: ignore[arg-type]


def test_everybody_with_the_same_login_is_one_identity() -> None:
    def read(name: str, path: str, **more: Any) -> SourceRead:
        return SourceRead(
            name=name,
            server="default",
            role="elile",
            namespace="shop",
            service_account="app",
            mount="secret",
            path=path,
            version=None,
            **more,
        )

    assert Identity.of(read("a", "x")) == Identity.of(read("b", "y", vault_namespace="web")) == WHO
    logins = ({}, {"method": AuthMethod.JWT}, {"login_namespace": "team-a"}, {"login_namespace": "team-b"})
    assert len({Identity.of(read("a", "x", **login)) for login in logins}) == len(logins)


async def test_a_token_comes_with_the_uid_of_its_account() -> None:
    api = Api(token := jwt({"kubernetes.io": {"serviceaccount": {"name": "app", "uid": "uid-é"}}}))
    assert await requests(api).token(WHO, "vault") == ServiceAccountToken(SecretStr(token), "uid-é")
    assert api.asked == [("shop", "app", "vault", 600)]


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("opaque", id="no JWT"),
        pytest.param("header.%%%.signature", id="no base64"),
        pytest.param(f"header.{base64.urlsafe_b64encode(b'{').decode()}.signature", id="no JSON"),
        pytest.param(jwt([]), id="no object"),
        pytest.param(jwt({"kubernetes.io": None}), id="no claims of Kubernetes"),
        pytest.param(jwt({"kubernetes.io": {"serviceaccount": {}}}), id="no uid"),
    ],
)
async def test_a_token_that_says_no_uid_is_good_all_the_same(token: str) -> None:
    assert await requests(Api(token)).token(WHO, "vault") == ServiceAccountToken(SecretStr(token), "")


@pytest.mark.parametrize(
    ("error", "who", "reason", "message"),
    [
        pytest.param(
            KubeNotFoundError("POST x", status=404, reason="NotFound"),
            WHO,
            Reason.SERVICE_ACCOUNT_NOT_FOUND,
            "ServiceAccount shop/app does not exist; create it, or correct spec.vault.serviceAccountName",
            id="no such account",
        ),
        pytest.param(
            KubeForbiddenError("POST x", status=403, reason="Forbidden"),
            WHO,
            Reason.NAMESPACE_NOT_BOUND,
            "the operator has no rights to the Secrets and ServiceAccounts of namespace 'shop'; give them: "
            "kubectl -n shop create rolebinding elile-deliver --clusterrole=elile-deliver "
            "--serviceaccount=elile-system:elile-operator",
            id="not bound",
        ),
        pytest.param(
            KubeInvalidError("POST x", status=422, reason="Invalid"),
            WHO,
            Reason.AUDIENCE_NOT_ALLOWED,
            "the API server refuses a token of ServiceAccount shop/app for audience 'vault'; correct "
            "spec.auth.kubernetes.audience of VaultServer 'default'",
            id="audience",
        ),
        pytest.param(
            KubeInvalidError("POST x", status=422, reason="Invalid"),
            replace(WHO, method=AuthMethod.JWT),
            Reason.AUDIENCE_NOT_ALLOWED,
            "the API server refuses a token of ServiceAccount shop/app for audience 'vault'; correct "
            "spec.auth.jwt.audience of VaultServer 'default'",
            id="audience of jwt",
        ),
    ],
)
async def test_a_refusal_says_what_to_do(error: KubeError, who: Identity, reason: Reason, message: str) -> None:
    with pytest.raises(IdentityError) as raised:
        await requests(Api(error)).token(who, "vault")
    violation = raised.value.violation
    assert (violation.reason, violation.message) == (reason, message)
    assert (str(raised.value), raised.value.safe_text, raised.value.__cause__) == (message, message, None)


@pytest.mark.parametrize(
    "error",
    [KubeUnavailableError("POST x"), KubeThrottledError("POST x", status=429)],
    ids=lambda error: type(error).__name__,
)
async def test_no_answer_is_no_refusal(error: KubeError) -> None:
    with pytest.raises(type(error)) as raised:
        await requests(Api(error)).token(WHO, "vault")
    assert raised.value is error
