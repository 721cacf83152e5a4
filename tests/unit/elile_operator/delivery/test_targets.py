"""What a spec makes of a target: where, with which accounts, and by which strategy."""

from typing import Any

import pytest

from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.journal import Strategy
from elile.secrets.rotation.targets.admin import AdminEntry
from elile.secrets.rotation.targets.external import ExternalTarget
from elile.secrets.rotation.targets.keyset import KeysetTarget
from elile.secrets.rotation.targets.plain import ReplaceTarget
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.delivery.targets import build_target, credential_fields, strategy_of
from tests.fakes.objects import rotation_schedule

LOGIN = {"value": "password", "username": "username"}
SERVER = {"host": "db.example", "users": ["a", "b"], "admin": {"path": "admin/db"}}
PG = {"apply": {"postgresql": {**SERVER, "database": "shop"}}, "fields": LOGIN}
MARIADB = {"apply": {"mariadb": SERVER}, "fields": LOGIN}
CRYPTO = [{"name": "crypto", "crypto": {}}]
KEYSET: dict[str, Any] = {"value": {"keyset": {}}, "fields": None, "verify": CRYPTO}


def no_admin() -> AdminEntry:
    raise AssertionError("nobody connects yet, so nobody needs the administrator's login")


def target(schedule: RotationSchedule) -> Any:
    return build_target(schedule.spec, admin=no_admin, inbox=object(), dialer=Dialer(()))  # type: ignore[arg-type] # is not asked


@pytest.mark.parametrize(
    ("spec", "kind", "strategy"),
    [
        pytest.param({}, "ReplaceTarget", Strategy.REPLACE, id="nowhere"),
        pytest.param({"value": {"external": {}}}, "ExternalTarget", Strategy.EXTERNAL, id="issued elsewhere"),
        pytest.param(KEYSET, "KeysetTarget", Strategy.KEYSET, id="a set of keys"),
        pytest.param(PG, "PostgreSQLTarget", Strategy.DUAL_USER, id="PostgreSQL"),
        pytest.param(MARIADB, "MariaDBTarget", Strategy.DUAL_USER, id="MariaDB"),
    ],
)
def test_the_target_and_its_strategy(spec: dict[str, Any], kind: str, strategy: Strategy) -> None:
    schedule = rotation_schedule(**spec)
    found = target(schedule)
    assert type(found).__name__ == kind
    assert found.strategy is strategy_of(schedule.spec) is strategy
    assert isinstance(found, (ReplaceTarget, ExternalTarget, KeysetTarget)) is ("apply" not in spec)


@pytest.mark.parametrize("apply", ["postgresql", "mariadb"])
def test_one_account_needs_the_downtime_to_be_accepted(apply: str) -> None:
    server = {**SERVER, "users": ["a"], "strategy": "SingleUser"} | ({"database": "d"} if apply == "postgresql" else {})
    schedule = rotation_schedule(apply={apply: server}, acceptDowntime=True, fields={"value": "password"})
    assert target(schedule).strategy is Strategy.SINGLE_USER


def test_the_keys_of_the_entry() -> None:
    usual = credential_fields(rotation_schedule(**KEYSET).spec)
    assert (usual.username, usual.value) == ("username", "password")
    own = credential_fields(rotation_schedule(fields={"value": "secret", "username": "login"}).spec)
    assert (own.username, own.value) == ("login", "secret")
