"""Credentials from a kubeconfig or from a pod's files; what is missing is named, with what to do."""

import base64
import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from elile.secrets.redact import SecretStr
from elile_operator.kube.credentials import (
    SERVICE_ACCOUNT_FOLDER,
    Credentials,
    CredentialsError,
    KubeconfigCredentials,
    ServiceAccountCredentials,
)

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def lives(found: Credentials) -> float:
    """For how many seconds credentials that were just loaded are good."""
    return (found.expires - dt.datetime.now(dt.UTC)).total_seconds()


# ── kubeconfig ───────────────────────────────────────────────────────────────────────────────────────────────────────


def kubeconfig(cluster: dict[str, Any], user: dict[str, Any], *, current: str | None = "one") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        **({"current-context": current} if current else {}),
        "clusters": [
            {"name": "c", "cluster": {"server": "https://api.test:6443", **cluster}},
            {"name": "d", "cluster": {"server": "https://other.test:6443"}},
        ],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u"}},
            {"name": "two", "context": {"cluster": "d", "user": "u"}},
        ],
    }


def write(folder: Path, content: Any) -> Path:
    path = folder / "kubeconfig"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def contents(names: Iterable[str | None]) -> list[str]:
    return [Path(name or "").read_text() for name in names]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_a_kubeconfig_with_a_client_certificate(tmp_path: Path) -> None:
    cluster = {"certificate-authority-data": encoded("the CA"), "tls-server-name": "kubernetes"}
    user = {"client-certificate-data": encoded("the certificate"), "client-key-data": encoded("the key")}
    found = await KubeconfigCredentials(write(tmp_path, kubeconfig(cluster, user))).load()
    assert (found.server, found.tls_server_name, found.token) == ("https://api.test:6443", "kubernetes", None)
    files = (found.ca_file, found.certificate_file, found.key_file)
    assert contents(files) == ["the CA", "the certificate", "the key"]
    assert lives(found) == pytest.approx(600.0, abs=5.0)


async def test_loading_again_names_the_same_files(tmp_path: Path) -> None:
    path = write(tmp_path, kubeconfig({"certificate-authority-data": encoded("CA")}, {"token": "t"}))
    source = KubeconfigCredentials(path)
    first, second = await source.load(), await source.load()
    assert first.ca_file == second.ca_file, "or every load would open new connections"


async def test_a_kubeconfig_with_files_and_a_token(tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text("the CA")
    path = write(tmp_path, kubeconfig({"certificate-authority": str(ca)}, {"token": "abc"}))
    found = await KubeconfigCredentials(path).load()
    assert (found.ca_file, found.token, found.certificate_file) == (str(ca), SecretStr("abc"), None)


async def test_a_token_that_is_rotated_is_read_anew(tmp_path: Path) -> None:
    token = tmp_path / "token"
    path = write(tmp_path, kubeconfig({}, {"tokenFile": str(token)}))
    source = KubeconfigCredentials(path)
    seen = []
    for text in ("one", "two"):
        token.write_text(text)
        found = await source.load()
        seen.append(found.token.reveal() if found.token else None)
    assert seen == ["one", "two"]


@pytest.mark.parametrize(
    ("context", "server"),
    [(None, "https://api.test:6443"), ("one", "https://api.test:6443"), ("two", "https://other.test:6443")],
)
async def test_the_context(tmp_path: Path, context: str | None, server: str) -> None:
    found = await KubeconfigCredentials(write(tmp_path, kubeconfig({}, {"token": "t"})), context).load()
    assert found.server == server


@pytest.mark.parametrize(
    ("content", "context", "why"),
    [
        pytest.param(None, None, "ConfigException", id="missing"),
        pytest.param("", None, "TypeError", id="empty"),
        pytest.param("{:", None, "ParserError", id="no YAML"),
        pytest.param("[1]", None, "TypeError", id="a list"),
        pytest.param("hunter2", None, "TypeError", id="a text"),
        pytest.param(kubeconfig({}, {}, current=None), None, "ConfigException", id="no current context"),
        pytest.param(kubeconfig({}, {}), "three", "ConfigException", id="no such context"),
        pytest.param(kubeconfig({"server": ""}, {}), None, "its cluster has no server", id="no server"),
        pytest.param(
            kubeconfig({"certificate-authority": "/does/not/exist"}, {}), None, "ConfigException", id="missing CA"
        ),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_named(
    tmp_path: Path, content: Any, context: str | None, why: str
) -> None:
    path = tmp_path / "kubeconfig" if content is None else write(tmp_path, content)
    with pytest.raises(CredentialsError) as raised:
        await KubeconfigCredentials(path, context).load()
    text = (
        f"kubeconfig {path} cannot be used ({why}); name another file with --kubeconfig, or its context with --context"
    )
    assert (str(raised.value), raised.value.safe_text, raised.value.__cause__) == (text, text, None)


# ── a pod's files ────────────────────────────────────────────────────────────────────────────────────────────────────


def mounted(folder: Path, content: str = "abc\n") -> Path:
    (folder / "token").write_text(content)
    return folder


@pytest.mark.parametrize(
    ("host", "server"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
async def test_what_kubelet_mounts(tmp_path: Path, host: str, server: str) -> None:
    source = ServiceAccountCredentials(mounted(tmp_path), {**POD, "KUBERNETES_SERVICE_HOST": host})
    found = await source.load()
    assert (found.server, found.token, found.ca_file) == (server, SecretStr("abc"), str(tmp_path / "ca.crt"))
    assert (found.certificate_file, found.key_file, found.tls_server_name) == (None, None, None)
    assert lives(found) == pytest.approx(60.0, abs=5.0)


async def test_a_mounted_token_that_is_rotated_is_read_anew(tmp_path: Path) -> None:
    source = ServiceAccountCredentials(mounted(tmp_path, "one"), POD)
    await source.load()
    mounted(tmp_path, "two")
    assert (await source.load()).token == SecretStr("two")


@pytest.mark.parametrize("missing", sorted(POD))
async def test_outside_a_pod_the_variables_are_named(tmp_path: Path, missing: str) -> None:
    environ = {name: value for name, value in POD.items() if name != missing}
    with pytest.raises(CredentialsError) as raised:
        await ServiceAccountCredentials(mounted(tmp_path), environ).load()
    assert str(raised.value) == (
        "KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set: this is no pod; name a --kubeconfig"
    )


async def test_a_token_that_is_not_mounted_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError) as raised:
        await ServiceAccountCredentials(tmp_path, POD).load()
    assert str(raised.value) == (
        f"the ServiceAccount token {tmp_path / 'token'} cannot be read (FileNotFoundError); "
        "mount it (automountServiceAccountToken) or name a --kubeconfig"
    )


async def test_an_empty_token_is_none(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError) as raised:
        await ServiceAccountCredentials(mounted(tmp_path, " \n"), POD).load()
    assert str(raised.value) == f"the ServiceAccount token {tmp_path / 'token'} is empty"


def test_whether_this_is_a_pod(tmp_path: Path) -> None:
    assert not ServiceAccountCredentials.present(tmp_path)
    assert ServiceAccountCredentials.present(mounted(tmp_path))
    assert Path("/var/run/secrets/kubernetes.io/serviceaccount") == SERVICE_ACCOUNT_FOLDER
