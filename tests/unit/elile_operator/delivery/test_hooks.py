"""What the hooks of a spec become: which server is asked as whom, and what they inherit of the target."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.redact import Redacted
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.policy import OnInconclusive
from elile.secrets.rotation.steps import Stage
from elile.secrets.rotation.verify.hooks import Hook
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.delivery import hooks as hooks_module
from elile_operator.delivery.hooks import build_hooks, wants_negative
from tests.fakes.objects import rotation_schedule

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
VALUE = Redacted({"username": "shop_a", "password": "p1"})
PASSED = Verification.passed("as it should be")
ADMIN = {"path": "admin/db"}
PG = {
    "postgresql": {
        "host": "db.example",
        "port": 5433,
        "database": "shop",
        "tls": {"serverName": "db"},
        "users": ["shop_a", "shop_b"],
        "admin": ADMIN,
    }
}
LOGIN = {"value": "password", "username": "username"}


class Asked:
    """The engine's own checks, which remember what they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        for name in ("postgresql", "mariadb", "redis", "http", "tls"):
            monkeypatch.setattr(hooks_module, f"verify_{name}", self._remember(name))

    def _remember(self, name: str) -> Callable[..., Verification]:
        def check(*args: Any, **kwargs: Any) -> Verification:
            self.calls.append((name, args, kwargs))
            return PASSED

        return check

    def last(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        return self.calls[-1]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def built(schedule: RotationSchedule, job: Callable[..., Verification] = lambda *_: PASSED) -> tuple[Hook, ...]:
    return build_hooks(
        schedule.spec,
        dialer=Dialer(()),
        now=lambda: NOW,
        run_job=job,
        monotonic=lambda: 0.0,
        on_try=lambda *_: None,
    )


def run(*hooks: dict[str, Any], value: Value = VALUE, **spec: Any) -> Verification:
    (hook,) = built(rotation_schedule(verify=list(hooks), fields=spec.pop("fields", LOGIN), **spec))
    return hook.check(value)


# ── what the engine is told of each ──────────────────────────────────────────────────────────────────────────────────


def test_a_hook_is_what_the_spec_says() -> None:
    slow = {
        "name": "slow",
        "stage": "AfterPromote",
        "http": {"url": "https://a.example/"},
        "attempts": 5,
        "successes": 2,
        "initialDelay": "3s",
        "onInconclusive": "Retry",
    }
    usual, told = built(rotation_schedule(verify=[{"name": "a", "http": {"url": "https://a.example/"}}, slow]))
    assert (usual.name, usual.stages, usual.attempts, usual.successes) == ("a", {Stage.PENDING}, 3, 1)
    assert (usual.initial_delay, usual.on_inconclusive) == (0.0, OnInconclusive.ABORT)
    assert (told.name, told.stages, told.attempts, told.successes) == ("slow", {Stage.AFTER_PROMOTE}, 5, 2)
    assert (told.initial_delay, told.on_inconclusive) == (3.0, OnInconclusive.HOLD)


def test_negative_is_no_hook_of_its_own() -> None:
    verify = [{"name": "a", "postgresql": {}}, {"name": "old", "negative": {}}]
    schedule = rotation_schedule(verify=verify, fields=LOGIN, apply=PG)
    assert [hook.name for hook in built(schedule)] == ["a"]
    assert wants_negative(schedule.spec)
    assert not wants_negative(rotation_schedule().spec)


# ── servers of databases ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("check", "apply", "endpoint"),
    [
        pytest.param({}, PG, ("db.example", 5433, "shop", "db"), id="the target"),
        pytest.param({"database": "other"}, PG, ("db.example", 5433, "other", "db"), id="another database of it"),
        pytest.param({"host": "db.example"}, PG, ("db.example", 5433, "shop", "db"), id="the same by name"),
        pytest.param({"host": "replica"}, PG, ("replica", 5432, "shop", None), id="another server trusts for itself"),
        pytest.param({"host": "own", "port": 6432}, None, ("own", 6432, "postgres", None), id="without a target"),
    ],
)
def test_postgresql(
    asked: Asked, check: dict[str, Any], apply: dict[str, Any] | None, endpoint: tuple[str, int, str, str | None]
) -> None:
    target = {"apply": apply} if apply else {}
    assert run({"name": "a", "postgresql": check, "timeout": "7s"}, **target) is PASSED
    name, (wanted, user, password, _), options = asked.last()
    found = wanted.endpoint
    assert (name, found.host, found.port, found.database, found.server_name) == ("postgresql", *endpoint)
    assert (wanted.user, user, password.reveal(), options) == ("shop_a", "shop_a", "p1", {"timeout": 7.0})


def test_the_keys_of_the_entry_are_those_of_the_spec(asked: Asked) -> None:
    value = Redacted({"login": "me", "secret": "s"})
    run({"name": "a", "postgresql": {}}, value=value, apply=PG, fields={"value": "secret", "username": "login"})
    _, (_, user, password, _), _ = asked.last()
    assert (user, password.reveal()) == ("me", "s")


@pytest.mark.parametrize("value", [{"username": "a"}, {"username": "a", "password": 7}])
def test_an_entry_without_the_key_is_named_and_its_value_is_not(asked: Asked, value: dict[str, Any]) -> None:
    with pytest.raises(SecretsConfigurationError, match="password") as raised:
        run({"name": "a", "postgresql": {}}, value=Redacted(value), apply=PG)
    assert "7" not in str(raised.value)
    assert asked.calls == []


# ── everything else ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("check", "url", "header", "scheme"),
    [
        pytest.param({"url": "https://a.example/"}, "https://a.example/", "Authorization", "Bearer", id="usual"),
        pytest.param(
            {"url": "https://a.example/", "auth": "Header", "header": "x-key"},
            "https://a.example/",
            "x-key",
            "",
            id="a header",
        ),
        pytest.param({"preset": "OpenAI"}, "https://api.openai.com/v1/models", "Authorization", "Bearer", id="openai"),
        pytest.param({"preset": "Anthropic"}, "https://api.anthropic.com/v1/models", "x-api-key", "", id="anthropic"),
    ],
)
def test_http(asked: Asked, check: dict[str, Any], url: str, header: str, scheme: str) -> None:
    run({"name": "a", "http": check})
    _, (probe, key, _), _ = asked.last()
    assert (probe.url, probe.header, probe.scheme, key.reveal()) == (url, header, scheme, "p1")


def test_http_with_a_user_and_a_password(asked: Asked) -> None:
    run({"name": "a", "http": {"url": "https://a.example/", "auth": "Basic"}})
    _, (probe, key, _), _ = asked.last()
    assert (probe.header, probe.scheme) == ("Authorization", "Basic")
    assert base64.b64decode(key.reveal()) == b"shop_a:p1"


def test_tls(asked: Asked) -> None:
    server = {"host": "web.example", "port": 443}
    hook = {"name": "a", "tls": {"names": ["web.example"], "server": server, "minimumLeft": "1d"}}
    built(rotation_schedule(verify=[hook, {"name": "b", "http": {"url": "https://a.example/"}}]))[0].check(VALUE)
    _, (wanted, value, _), options = asked.last()
    assert (wanted.names, wanted.server, wanted.minimum_left) == (
        ("web.example",),
        ("web.example", 443),
        timedelta(days=1),
    )
    assert (value, options) == (VALUE, {"now": NOW})


def test_a_container_is_run_by_who_can() -> None:
    ran: list[tuple[str, Value]] = []

    def job(hook: Any, value: Value) -> Verification:
        ran.append((hook.name, value))
        return Verification.failed("exit code 1")

    (hook,) = built(rotation_schedule(verify=[{"name": "a", "job": {"image": "i"}, "timeout": "1m"}]), job)
    assert hook.check(VALUE).outcome is Outcome.FAILED
    assert ran == [("a", VALUE)]
