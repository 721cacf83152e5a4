"""What the fake API server claims about a real one is true: the same rules, on the cluster."""

import base64
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

pytest.register_assert_rewrite("tests.fakes.kube.contract")

from tests.e2e.support.cluster import Cluster, eventually  # noqa: E402
from tests.fakes.kube.contract import RULES, Api, Rule  # noqa: E402

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def session(cluster: Cluster, installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[requests.Session]:
    """A session that is who the kubeconfig says."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    folder = tmp_path_factory.mktemp("identity")

    def file(source: dict[str, str], key: str) -> str | None:
        if key in source:
            return source[key]
        if f"{key}-data" not in source:
            return None
        path = folder / key
        path.write_bytes(base64.b64decode(source[f"{key}-data"]))
        path.chmod(0o600)
        return str(path)

    with requests.Session() as session:
        session.trust_env = False
        session.verify = file(server, "certificate-authority") or True
        certificate, key = file(user, "client-certificate"), file(user, "client-key")
        if certificate and key:
            session.cert = (certificate, key)
        if "token" in user:
            session.headers["Authorization"] = f"Bearer {user['token']}"
        yield session


@pytest.fixture
def api(cluster: Cluster, session: requests.Session) -> Iterator[Api]:
    """A namespace of its own, without what other controllers put there."""
    namespace = f"n-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", namespace)
    eventually("the ServiceAccount default is there", lambda: cluster.find("sa", "default", namespace), every=0.05)
    yield Api(session, server_of(cluster.kubeconfig), namespace)
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def server_of(kubeconfig: Path) -> str:
    url: str = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    return url


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(api: Api, rule: Rule) -> None:
    rule(api)
