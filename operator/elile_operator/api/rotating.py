"""What a rotation puts in place of a value, who must follow before the old one ends, and what is done between runs."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.durations import LONGEST, MAX_LENGTH, PATTERN, DurationError, parse_duration
from elile_operator.api.generate import KINDS, GeneratedValue
from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, DurationBetween, Rule, exactly_one, lasts_between
from elile_operator.api.syntax import MAX_KEY, plain_key

VALUES = ("generate", "external", "keyset")
REFUSE = "Refuse"


class ExternalStart(StrEnum):
    """When a value that somebody staged is taken."""

    ON_STAGE = "OnStage"
    AT_SCHEDULE = "AtSchedule"


class KeysetAlgorithm(StrEnum):
    """What the keys are for, as the client library names it."""

    AES256GCM = "AES256GCM"
    FERNET = "FERNET"


class OnTimeout(StrEnum):
    """What follows when the proof of the consumers does not come in time."""

    HOLD = "Hold"
    REVERT = "Revert"
    PROCEED = "Proceed"


class OnExternalChange(StrEnum):
    """What follows when somebody else changed the value."""

    ADOPT = "Adopt"
    FLAG = "Flag"


class ExternalValue(SpecModel):
    """A value that somebody makes elsewhere and stages in the inbox."""

    start: ExternalStart = Field(
        ExternalStart.ON_STAGE,
        description="OnStage: once one is staged. AtSchedule: at the next time of spec.schedule. Absent: OnStage.",
    )
    remind_after: (
        Annotated[timedelta, DurationBetween("spec.value.external.remindAfter", timedelta(seconds=1), LONGEST)] | None
    ) = Field(None, description="Age of the value at which ValueDue asks for another one. Absent: never.")


class KeysetValue(SpecModel):
    """Another key for a set of encryption keys, of which the old ones still decrypt."""

    algorithm: KeysetAlgorithm = Field(KeysetAlgorithm.AES256GCM, description="AES256GCM or FERNET. Absent: AES256GCM.")
    disable_after: (
        Annotated[timedelta, DurationBetween("spec.value.keyset.disableAfter", timedelta(seconds=1), LONGEST)] | None
    ) = Field(
        None,
        description="How long after its replacement a key still decrypts; it is destroyed only by a Rotation with the "
        "action DestroyKey. Absent: for ever.",
    )


class RotatedValue(SpecModel):
    """What is put in place of the value; exactly one."""

    generate: Annotated[GeneratedValue, Checked(exactly_one("spec.value.generate", KINDS))] | None = Field(
        None, description="A value that is made."
    )
    external: ExternalValue | None = Field(None, description="A value that somebody stages in the inbox.")
    keyset: KeysetValue | None = Field(None, description="Another key of a set of encryption keys.")


def _is_wait(text: str) -> bool:
    if text == REFUSE:
        return True
    try:
        return timedelta(0) < parse_duration(text)
    except DurationError:
        return False


_UNDECLARED = Rule(
    f"self == '{REFUSE}' || (self.matches('{PATTERN}') && {lasts_between('self', timedelta(seconds=1), LONGEST)})",
    "spec.promote.undeclared must be the word Refuse or a duration such as 30m",
    _is_wait,
)


class Promote(SpecModel):
    """What has to be known of the consumers before the old value ends."""

    undeclared: Annotated[str, StringConstraints(min_length=2, max_length=MAX_LENGTH), Checked(_UNDECLARED)] = Field(
        REFUSE,
        description="Readers that declare no proof: Refuse does not begin, a duration such as 30m is how long is "
        "waited for them. Absent: Refuse.",
    )
    sessions_quiet: (
        Annotated[timedelta, DurationBetween("spec.promote.sessionsQuiet", timedelta(seconds=1), LONGEST)] | None
    ) = Field(
        None,
        description="With DualUser: for how long the target must have seen no session of the old user. It stands in "
        "for undeclared, and is asked beside declared proofs. Absent: sessions are not looked at.",
    )
    timeout: Annotated[timedelta, DurationBetween("spec.promote.timeout", timedelta(seconds=1), LONGEST)] = Field(
        timedelta(minutes=15), description="How long the proof may take before onTimeout. Absent: 15m."
    )
    on_timeout: OnTimeout = Field(
        OnTimeout.HOLD,
        description="Hold: both values stay valid until the proof comes. Revert: the old one is live again. Proceed: "
        "without the proof. Absent: Hold.",
    )

    @property
    def undeclared_wait(self) -> timedelta | None:
        """How long readers that declare nothing are waited for; None: they are refused."""
        return None if self.undeclared == REFUSE else parse_duration(self.undeclared)


class Drift(SpecModel):
    """What is done between runs about a value that no longer is what was put there."""

    interval: Annotated[timedelta, DurationBetween("spec.drift.interval", timedelta(seconds=1), LONGEST)] | None = (
        Field(None, description="How often the value is verified between runs. Absent: never.")
    )
    on_external_change: OnExternalChange = Field(
        OnExternalChange.FLAG,
        description="What follows when somebody else changed it. Adopt: it is taken for the value, if it is verified. "
        "Flag: a condition says so. Absent: Flag.",
    )


class RotatedFields(SpecModel):
    """Which keys of the entry are replaced; the others are copied."""

    value: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY), Checked(plain_key("spec.fields.value"))]
        | None
    ) = Field(None, description="Key that holds the value. Absent: what is staged, or the keyset, says it.")
    username: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY), Checked(plain_key("spec.fields.username"))]
        | None
    ) = Field(None, description="Key that holds the user's name. Absent: the entry names no user.")


FIELDS_DIFFER = Rule(
    "!has(self.value) || !has(self.username) || self.value != self.username",
    "spec.fields.value and spec.fields.username must be different keys; correct one of them",
    lambda v: v.value is None or v.value != v.username,
)
