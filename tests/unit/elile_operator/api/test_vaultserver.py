from datetime import timedelta
from typing import Any

import pytest

from elile_operator.api.model import InvalidObject
from elile_operator.api.vaultserver import Flavor, VaultServer, VaultServerSpec, VaultServerStatus, resolve

SPEC: dict[str, Any] = {"address": "https://vault.vault.svc:8200", "auth": {"kubernetes": {}}}


def read(**spec: Any) -> VaultServerSpec:
    return VaultServer.from_body({"metadata": {"name": "default"}, "spec": SPEC | spec}).spec


def test_what_is_absent_is_the_default() -> None:
    spec = read()
    assert spec.auth.kubernetes is not None
    assert (spec.auth.kubernetes.mount, spec.auth.kubernetes.audience) == ("kubernetes", "elile")
    assert (spec.tls.ca_bundle, spec.tls.server_name, spec.tls.allow_plain_http) == (None, None, False)
    assert (spec.defaults.role, spec.defaults.service_account_name, spec.defaults.mount) == (
        "elile",
        "default",
        "secret",
    )
    assert spec.allowed_namespaces is None
    assert spec.poll.interval == timedelta(seconds=60)
    assert (spec.limits.requests_per_second, spec.limits.concurrency) == (500, 16)
    assert spec.limits.timeout == timedelta(seconds=10)
    assert (spec.journal.prefix, spec.journal.inbox) == ("elile-journal", "elile-journal-inbox")


def test_the_inbox_lies_beside_the_journal() -> None:
    spec = read(journal={"prefix": "ops/rotation"})
    assert (spec.journal.prefix, spec.journal.inbox) == ("ops/rotation", "ops/rotation-inbox")


@pytest.mark.parametrize(
    "address",
    [
        "https://vault",
        "https://vault:8200",
        "https://10.0.0.1:65535",
        "https://[fd00::1]:8200",
        "https://Vault.Example.com",
    ],
)
def test_addresses(address: str) -> None:
    assert read(address=address).address == address


@pytest.mark.parametrize(
    "address",
    [
        "vault:8200", "HTTPS://vault", "https://", "https://vault/", "https://vault:0", "https://vault:08", "https://vault:65536",
        "https://vault:8200#x", "https://u@vault", "https://vault\n", "https://vault:8200 ", "https://-vault", "https://va_ult",
        "https://[fd00::1", "unix:///run/vault.sock", "https://" + "a" * 300,
    ],
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(InvalidObject, match=r"^spec\.address"):
        read(address=address)


def test_http_is_said_twice_or_refused() -> None:
    with pytest.raises(InvalidObject) as raised:
        read(address="http://vault:8200")
    assert str(raised.value) == "spec.address uses http; use https or set spec.tls.allowPlainHTTP: true"
    assert read(address="http://vault:8200", tls={"allowPlainHTTP": True}).tls.allow_plain_http


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("elile", "elile"),
        ("${namespace}", "shop"),
        ("a-${namespace}/${namespace}", "a-shop/shop"),
        ("$namespace ${name}", "$namespace ${name}"),
    ],
)
def test_a_default_is_resolved_for_a_namespace(template: str, value: str) -> None:
    assert resolve(template, namespace="shop") == value


def test_a_default_is_resolved_once() -> None:
    assert resolve("${namespace}", namespace="${namespace}") == "${namespace}"


def test_the_status_is_written_without_what_is_unknown() -> None:
    assert VaultServerStatus(cluster_id="c", flavor=Flavor.OPENBAO).dump() == {"clusterID": "c", "flavor": "OpenBao"}
