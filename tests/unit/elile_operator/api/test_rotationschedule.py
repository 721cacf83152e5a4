from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import available_timezones

import pytest

from elile.secrets.rotation.cron import Cron, ScheduleError
from elile.secrets.rotation.journal import Strategy
from elile.secrets.rotation.verify.http import PRESETS
from elile.secrets.types import KeyAlgorithm
from elile_operator.api.durations import LONGEST
from elile_operator.api.httpcheck import HttpMethod, HttpPreset
from elile_operator.api.meta import Condition, ConditionStatus
from elile_operator.api.model import InvalidObject
from elile_operator.api.rotating import (
    ExternalStart,
    KeysetAlgorithm,
    OnExternalChange,
    OnTimeout,
)
from elile_operator.api.rotationschedule import RotationSchedule, RotationScheduleStatus
from elile_operator.api.targets import AccountStrategy, MariaDBApply, PostgreSQLApply, RedisApply, RedisStrategy
from elile_operator.api.timing import MissedRun, cron, zone
from elile_operator.api.verify import OnInconclusive

HEAD: dict[str, Any] = {
    "secretRef": {"name": "shop-db", "source": "db"},
    "vault": {"role": "elile-rotator", "serviceAccountName": "elile-rotator"},
}
EXTERNAL = HEAD | {"value": {"external": {}}, "verify": [{"name": "pair", "tls": {"names": ["shop.example.com"]}}]}
ADMIN = {"path": "admin"}
APPLY: dict[str, dict[str, Any]] = {
    "postgresql": {"host": "pg", "database": "shop", "users": ["a", "b"], "admin": ADMIN},
    "mariadb": {"host": "maria", "users": ["a", "b"], "admin": ADMIN},
    "redis": {"nodes": [{"host": "r", "port": 6379}], "user": "shop", "admin": ADMIN},
}


def read(**spec: Any) -> RotationSchedule:
    return RotationSchedule.from_body({"metadata": {"name": "shop-db", "namespace": "team"}, "spec": EXTERNAL | spec})


def applied(kind: str) -> RotationSchedule:
    return read(
        fields={"value": "password", "username": "username"},
        value={"generate": {"password": {}}},
        apply={kind: APPLY[kind]},
        verify=[{"name": "login", kind: {}}],
    )


def test_what_is_absent_is_the_default() -> None:
    spec = read().spec
    assert (spec.fields.value, spec.fields.username) == (None, None)
    assert (spec.schedule, spec.time_zone, spec.splay, spec.window) == (None, "Etc/UTC", None, None)
    assert (spec.blackouts, spec.missed_run, spec.max_age, spec.suspend, spec.group) == (
        (), MissedRun.RUN_ONCE, None, False, None,
    )  # fmt: skip
    assert spec.value.external is not None
    assert (spec.value.external.start, spec.value.external.remind_after) == (ExternalStart.ON_STAGE, None)
    assert (spec.apply, spec.accept_downtime) == (None, False)
    assert (spec.promote.undeclared, spec.promote.undeclared_wait) == ("Refuse", None)
    assert (spec.promote.sessions_quiet, spec.promote.timeout) == (None, timedelta(minutes=15))
    assert spec.promote.on_timeout is OnTimeout.HOLD
    assert spec.grace_period == timedelta(minutes=15)
    assert (spec.drift.interval, spec.drift.on_external_change) == (None, OnExternalChange.FLAG)
    assert spec.history_limit == 10


def test_what_a_hook_does_not_say_is_the_default() -> None:
    hook = read(fields={"value": "key"}, verify=[{"name": "me", "http": {"preset": "OpenAI"}}]).spec.verify[0]
    assert (hook.stage, hook.check, hook.on_inconclusive) == (None, "http", OnInconclusive.ABORT)
    assert (hook.timeout, hook.initial_delay) == (timedelta(seconds=10), timedelta())
    assert (hook.attempts, hook.successes) == (3, 1)
    assert hook.http is not None
    assert (hook.http.method, hook.http.statuses, hook.http.auth) == (HttpMethod.GET, (200,), None)


@pytest.mark.parametrize(
    ("kind", "model", "strategy", "port"),
    [
        ("postgresql", PostgreSQLApply, AccountStrategy.DUAL_USER, 5432),
        ("mariadb", MariaDBApply, AccountStrategy.DUAL_USER, 3306),
        ("redis", RedisApply, RedisStrategy.DUAL_PASSWORD, None),
    ],
)
def test_the_target_is_the_one_there_is(kind: str, model: type, strategy: str, port: int | None) -> None:
    apply = applied(kind).spec.apply
    assert apply is not None
    assert type(apply.target) is model
    assert (apply.target.strategy, getattr(apply.target, "port", None)) == (strategy, port)
    assert (apply.target.admin.mount, apply.target.admin.path) == (None, "admin")
    assert not apply.target.tls.allow_plain


@pytest.mark.parametrize(
    ("undeclared", "wait"),
    [("Refuse", None), ("30m", timedelta(minutes=30)), ("1d12h", timedelta(hours=36)), ("3650d", LONGEST)],
)
def test_readers_that_declare_nothing_are_refused_or_waited_for(undeclared: str, wait: timedelta | None) -> None:
    assert read(promote={"undeclared": undeclared}).spec.promote.undeclared_wait == wait


@pytest.mark.parametrize("undeclared", ["refuse", "0s", "0h0m", "30", "3651d", "-1m", "1h 30m"])
def test_what_is_no_wait(undeclared: str) -> None:
    with pytest.raises(InvalidObject) as raised:
        read(promote={"undeclared": undeclared})
    assert str(raised.value) == "spec.promote.undeclared must be the word Refuse or a duration such as 30m"


@pytest.mark.parametrize(
    "expression",
    [
        "@hourly", "@daily", "@weekly", "@monthly", "@yearly", "* * * * *", "0 3 * * 0",
        "*/5 0-23/2 1,15 JAN-mar mon-fri",
        "H H * * *", "H/15 H(1-4) H * *", "H(0-29),H(30-59) * * * *", "H(0-29)/10 * * * *", "0 0 H/10 H H",
        "0  3 * * 5-7",
        "59 23 31 DEC SUN", "0 0 13 * 5", "10,20,30 * * * *",
    ],
)  # fmt: skip
def test_the_shape_of_cron_takes_what_the_engine_takes(expression: str) -> None:
    Cron.parse(expression, uid="uid-1")
    assert [rule.message for rule in cron("spec.schedule") if not rule.holds(expression)] == []


@pytest.mark.parametrize(
    "expression",
    [
        "@reboot", "@every 1h", "@midnight", "@Daily", "* * * *", "0 0 3 * * 0", "0 0 3 * * 0 2027", "R * * * *",
        "R(0-30) 3 * * 0", "r/5 * * * *", "0 3 ? * 0", "TZ=UTC 0 3 * * 0", "cron_tz=UTC 0 3 * * 0", "0 3 L * *",
        "0 3 15W * *",
        "0 3 * * 5#3", "0 3 * * 5L", "0 3 * * \u2013", "0 3 * * monday", "100 3 * * 0", "0 3 -1 * 0", "0 3 1- * 0",
        "0,, 3 * * 0",
        "0 3 * * H()", "*/ 3 * * 0", "",
    ],
)  # fmt: skip
def test_what_the_shape_refuses_the_engine_refuses(expression: str) -> None:
    assert [rule.message for rule in cron("spec.schedule") if not rule.holds(expression)] != []
    with pytest.raises(ScheduleError):
        Cron.parse(expression, uid="uid-1")


def test_every_time_zone_has_the_shape_of_one() -> None:
    assert [name for name in available_timezones() if not zone("").holds(name)] == []


@pytest.mark.parametrize("name", ["", "/etc/localtime", "Europe/../UTC", "Europe//Berlin", "+02:00", "Europe/Berlin\n"])
def test_what_is_no_time_zone(name: str) -> None:
    assert not zone("").holds(name)


def test_words_of_the_engine_are_those_of_the_api() -> None:
    assert set(KeysetAlgorithm) == set(KeyAlgorithm)
    assert {*AccountStrategy, *RedisStrategy} < set(Strategy)
    assert {preset.lower() for preset in HttpPreset} == set(PRESETS)


def test_the_status_is_written_without_what_is_not_set() -> None:
    now = datetime(2026, 11, 1, 3, tzinfo=UTC)
    condition = Condition(
        type="Ready", status=ConditionStatus.TRUE, reason="RotationScheduled", message="m", last_transition_time=now
    )
    status = RotationScheduleStatus(
        conditions=(condition,),
        anchor="0 3 * * 0[Etc/UTC]",
        anchor_time=now,
        live_since=now,
        last_drift_time=now,
        next_rotation_time=now,
        missed_runs=0,
    )
    assert status.dump() == {
        "conditions": [condition.dump()],
        "anchor": "0 3 * * 0[Etc/UTC]",
        "anchorTime": "2026-11-01T03:00:00Z",
        "liveSince": "2026-11-01T03:00:00Z",
        "lastDriftTime": "2026-11-01T03:00:00Z",
        "nextRotationTime": "2026-11-01T03:00:00Z",
        "missedRuns": 0,
    }
