"""The fake API server keeps the rules of a real one; `tests/e2e/test_fake_is_true.py` runs the same on a real one."""

import uuid
from collections.abc import Iterator

import pytest
import requests

pytest.register_assert_rewrite("tests.fakes.kube.contract")

from tests.fakes.kube import FakeKube  # noqa: E402
from tests.fakes.kube.contract import RULES, Api, Rule  # noqa: E402


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeKube]:
    with FakeKube() as fake:
        yield fake


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(fake: FakeKube, rule: Rule) -> None:
    namespace = f"n-{uuid.uuid4().hex[:8]}"
    fake.create({"kind": "Namespace", "metadata": {"name": namespace}})
    with requests.Session() as session:
        session.trust_env = False
        rule(Api(session, fake.url, namespace, watch_seconds=0.1))
