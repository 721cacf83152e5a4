"""Hooks that prove a value works, each against the real thing, before anybody is given it."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.checks import MariaDBCheck, PostgreSQLCheck, RedisCheck, TlsCheck
from elile_operator.api.generate import NoOptions
from elile_operator.api.hookjob import JobCheck
from elile_operator.api.httpcheck import HTTP_RULES, HttpCheck
from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, DurationBetween, Rule, between, exactly_one, seconds_of
from elile_operator.api.syntax import MAX_LABEL, dns_label

MAX_HOOKS = 16
CHECKS = ("postgresql", "mariadb", "redis", "http", "tls", "crypto", "negative", "job")


class VerifyStage(StrEnum):
    """When a hook is run."""

    PREFLIGHT = "Preflight"
    PENDING = "Pending"
    AFTER_PROMOTE = "AfterPromote"
    BEFORE_RETIRE = "BeforeRetire"
    DRIFT = "Drift"


class OnInconclusive(StrEnum):
    """What it means that the attempts are used up and nothing is proved."""

    ABORT = "Abort"
    RETRY = "Retry"


class Hook(SpecModel):
    """One hook."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_LABEL), Checked(dns_label("spec.verify[].name"))
    ] = Field(description="Name of the hook within this object.")
    stage: VerifyStage | None = Field(
        None,
        description="When it is run: with the value in use before the run (Preflight), with the new one before anybody "
        "is given it (Pending), after that (AfterPromote), before the old one is retired (BeforeRetire), or between "
        "runs (Drift). Absent: Pending; negative has none.",
    )
    postgresql: PostgreSQLCheck | None = Field(None, description="A login to PostgreSQL, as the right role.")
    mariadb: MariaDBCheck | None = Field(None, description="A login to MariaDB, as the right account.")
    redis: RedisCheck | None = Field(None, description="A login to every server of Redis, as the right user.")
    http: Annotated[HttpCheck, Checked(*HTTP_RULES)] | None = Field(None, description="A request that takes the value.")
    tls: TlsCheck | None = Field(None, description="Chain, names, key and end of a certificate.")
    crypto: NoOptions | None = Field(
        None, description="The new key of a keyset encrypts and decrypts, and the old ones still decrypt: {}."
    )
    negative: NoOptions | None = Field(
        None, description="The old value still works before it is retired, and no longer after it: {}."
    )
    job: JobCheck | None = Field(None, description="A container of one's own in this namespace.")
    timeout: Annotated[
        timedelta, DurationBetween("spec.verify[].timeout", timedelta(seconds=1), timedelta(minutes=30))
    ] = Field(timedelta(seconds=10), description="How long one attempt may take. Absent: 10s.")
    attempts: Annotated[int, Checked(between("spec.verify[].attempts", 1, 20))] = Field(
        3, description="How often it is tried. Absent: 3."
    )
    successes: Annotated[int, Checked(between("spec.verify[].successes", 1, 20))] = Field(
        1, description="How often in a row it must pass. Absent: 1."
    )
    initial_delay: Annotated[
        timedelta, DurationBetween("spec.verify[].initialDelay", timedelta(0), timedelta(minutes=10))
    ] = Field(timedelta(0), description="How long the first attempt waits. Absent: 0s.")
    on_inconclusive: OnInconclusive = Field(
        OnInconclusive.ABORT,
        description="What follows when the attempts are used up without an answer. Abort: the run is undone. Retry: "
        "they begin anew until the window closes. Absent: Abort.",
    )

    @property
    def check(self) -> str:
        """Name of the member that says what is checked."""
        return next(name for name in CHECKS if getattr(self, name) is not None)


_SHORT = timedelta(minutes=1)  # longer and a single try would outlast what holds the run together

HOOK_RULES = (
    exactly_one("spec.verify[]", CHECKS),
    Rule(
        "!has(self.negative) || !has(self.stage)",
        "spec.verify[].negative has no stage: it is run before and after retiring; remove spec.verify[].stage",
        lambda v: v.negative is None or v.stage is None,
    ),
    Rule(
        "(has(self.successes) ? self.successes : 1) <= (has(self.attempts) ? self.attempts : 3)",
        "spec.verify[].successes must not be more than spec.verify[].attempts, which are 3 if absent",
        lambda v: v.successes <= v.attempts,
    ),
    Rule(
        "!has(self.job) || has(self.timeout)",
        "spec.verify[].job needs spec.verify[].timeout, for example 2m: a pod hardly starts within the usual 10s",
        lambda v: v.job is None or "timeout" in v.model_fields_set,
    ),
    Rule(
        f"has(self.job) || !has(self.timeout) || {seconds_of('self.timeout')} <= {_SHORT // timedelta(seconds=1)}",
        "spec.verify[].timeout must be at most 1m, but for job; raise spec.verify[].attempts instead",
        lambda v: v.job is not None or v.timeout <= _SHORT,
    ),
)
