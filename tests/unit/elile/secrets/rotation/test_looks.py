"""What is looked at without a rotation: whether the live value still works, and whether it could be rotated."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from elile.secrets.errors import SecretAccessDeniedError, SecretsConfigurationError, SecretsUnavailableError
from elile.secrets.memory import MemoryBackend
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation import drift
from elile.secrets.rotation.dry_run import dry_run
from elile.secrets.rotation.engine import Parts
from elile.secrets.rotation.generators import api_key
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.journal_memory import MemoryJournal
from elile.secrets.rotation.live import BackendLive
from elile.secrets.rotation.ports import Target
from elile.secrets.rotation.steps import Delivered, Live, Login, Proofs, Stage, Written
from elile.secrets.rotation.targets.plain import ReplaceTarget
from elile.secrets.rotation.verify.hooks import Hook, Judged
from elile.secrets.rotation.verify.outcome import Verification
from tests.fakes.accounts import Accounts

PATH = "team/db"
OLD = "canary-old-1f0e"
VALUE: Value = Redacted({"username": "shop_a", "password": OLD})
PASSED, FAILED = Verification.passed("it works"), Verification.failed("it does not")
UNKNOWN = Verification.inconclusive("nobody knows")


class Untouched:
    """Readers that nobody may ask for anything."""

    def deliver(self, value: Value, live_version: int) -> Delivered:
        raise AssertionError("delivered")

    def proofs(self, value: Value, live_version: int) -> Proofs:
        raise AssertionError("asked for proofs")


class OnlyRead(BackendLive):
    """A live path that is only read."""

    def write(self, value: Value, *, cas: int) -> Written:
        raise AssertionError("written")


class OnlyLooks(Accounts):
    """A target at which nothing may be changed, or made for it."""

    def generate(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("generated")

    apply = lock = restore = generate


def accounts(**more: Any) -> OnlyLooks:
    return OnlyLooks({"shop_a": SecretStr(OLD), "shop_b": None}, **more)


def hook(name: str, answer: Verification, stage: Stage, asked: list[str] | None = None) -> Hook:
    def check(value: Value) -> Verification:
        if asked is not None:
            asked.append(name)
        assert value.reveal()["password"] == OLD
        return answer

    return Hook(name=name, check=check, stages=frozenset({stage}), attempts=1)


def parts(target: Target | None = None, hooks: Sequence[Hook] = (), live: Any = None) -> Parts:
    return Parts(
        path=PATH,
        journal_id="test",
        journal=MemoryJournal(),
        live=live or OnlyRead(MemoryBackend({PATH: dict(VALUE.reveal())}), PATH),
        target=target or accounts(),
        consumers=Untouched(),
        hooks=hooks,
    )


# ── drift ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("target", "answer", "expected"),
    [
        ({}, PASSED, Verification.passed("everything that was asked for passed")),
        ({}, FAILED, Verification.failed("mail: it does not")),
        ({}, UNKNOWN, Verification.inconclusive("mail: nobody knows")),
        ({"down": True}, PASSED, Verification.inconclusive("target: nothing answers")),
        ({"down": True}, FAILED, Verification.failed("mail: it does not")),
    ],
)
def test_the_live_value_is_tried_at_the_target_and_by_the_hooks(
    target: dict[str, Any], answer: Verification, expected: Verification
) -> None:
    hooks = [hook("mail", answer, Stage.DRIFT), hook("other", FAILED, Stage.PENDING)]
    judged: list[Judged] = []
    found = drift.check(parts(accounts(**target), hooks), VALUE, sleep=lambda _: None, on_judged=judged.append)
    assert found == expected
    assert [one.hook.name for one in judged] == ["target", "mail"]


def test_a_password_that_somebody_changed_is_sent_once() -> None:
    asked: list[str] = []
    target = accounts()
    target.passwords["shop_a"] = SecretStr("of somebody else")
    found = drift.check(parts(target, [hook("mail", PASSED, Stage.DRIFT, asked)]), VALUE)
    assert found == Verification.failed("target: it does not log in")
    assert asked == []


# ── dry run ──────────────────────────────────────────────────────────────────────────────────────────────────────────

WELL = [
    ("live path", Verification.passed("it can be read and written")),
    ("current value", Verification.passed("version 1")),
    ("target", Verification.passed("it has all that is needed")),
    ("login", Verification.passed("the current login works")),
]


def told(those: Parts) -> list[tuple[str, Verification]]:
    found = [(one.name, one.verification) for one in dry_run(those, sleep=lambda _: None)]
    assert "canary" not in str(found)
    assert those.journal.read(PATH).version == 0
    return found


def test_all_that_comes_before_a_rotation_is_looked_at() -> None:
    hooks = [hook("mail", UNKNOWN, Stage.PREFLIGHT), hook("other", FAILED, Stage.DRIFT)]
    assert told(parts(hooks=hooks)) == [*WELL, ("mail", UNKNOWN)]


def test_where_nobody_is_logged_in_the_hooks_alone_are_asked() -> None:
    target = ReplaceTarget(api_key(), "password")
    assert told(parts(target, [hook("mail", PASSED, Stage.PREFLIGHT)])) == [*WELL[:3], ("mail", PASSED)]


def test_a_login_that_is_refused_is_not_sent_again_by_a_hook() -> None:
    target, asked = accounts(), list[str]()
    target.passwords["shop_a"] = SecretStr("of somebody else")
    refused = Verification.failed("the target refuses the current login: write the one that works into the entry")
    assert told(parts(target, [hook("mail", PASSED, Stage.PREFLIGHT, asked)])) == [*WELL[:3], ("login", refused)]
    assert asked == []


def test_who_does_not_answer_keeps_nobody_else_from_being_asked() -> None:
    away = Verification.inconclusive("the target does not answer")
    hooks = [hook("mail", PASSED, Stage.PREFLIGHT)]
    assert told(parts(accounts(down=True), hooks)) == [*WELL[:3], ("login", away), ("mail", PASSED)]


@pytest.mark.parametrize(
    ("live", "detail"),
    [
        (Live(0, None), "nothing is stored there: write the value that is in use"),
        (Live(4, None), "version 4 was deleted: write the value that is in use"),
    ],
)
def test_without_a_value_nothing_more_is_looked_at(live: Live, detail: str) -> None:
    class Empty:
        def preflight(self) -> str:
            return "the Vault policy of the rotator lacks update on secret/data/team/db: allow it"

        def read(self) -> Live:
            return live

    assert told(parts(live=Empty())) == [
        (
            "live path",
            Verification.failed("the Vault policy of the rotator lacks update on secret/data/team/db: allow it"),
        ),
        ("current value", Verification.failed(detail)),
    ]


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (SecretsUnavailableError("it is sealed"), Verification.inconclusive),
        (SecretAccessDeniedError("the policy does not allow it"), Verification.failed),
        (SecretsConfigurationError("not one of users"), Verification.failed),
    ],
)
def test_an_error_is_a_finding(error: Exception, make: Callable[[str], Verification]) -> None:
    class Broken(OnlyLooks):
        def preflight(self, current: Value) -> str:
            raise error

        def probe(self, value: Value) -> Login:
            raise error

    found = told(parts(Broken({}, strategy=Strategy.SINGLE_USER)))
    assert found == [*WELL[:2], ("target", make(str(error))), ("login", make(str(error)))]
