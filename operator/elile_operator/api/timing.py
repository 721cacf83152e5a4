"""When rotations may start: cron expressions, time zones, blackouts and groups."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.durations import LONGEST
from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, DurationBetween, Rule, free_of, matches
from elile_operator.api.syntax import MAX_LABEL, dns_label

MAX_CRON = 128
MAX_ZONE = 64
MAX_BLACKOUTS = 32


class MissedRun(StrEnum):
    """What becomes of the last time that passed while nothing could run."""

    RUN_ONCE = "RunOnce"
    SKIP = "Skip"


_ALIASES = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly")
_VALUE = "([0-9]{1,2}|[A-Za-z]{3})"
_ITEM = rf"(\*|H(\([0-9]{{1,2}}-[0-9]{{1,2}}\))?|{_VALUE}(-{_VALUE})?)(/[0-9]{{1,3}})?"
_FIELD = f"{_ITEM}(,{_ITEM})*"


def cron(field: str) -> tuple[Rule, ...]:
    """The shape of an expression; whether it ever fires, only the operator can tell."""
    return (
        free_of("[^\x20-\x7e]", f"{field} must be plain ASCII on one line; type it anew, it may have been pasted"),
        free_of("(?i)tz=", f"{field} must not name a time zone; write that into timeZone"),
        matches(
            f"({'|'.join(_ALIASES)})|[^@ ]+( +[^ ]+){{4}}",
            f"{field} must be five fields (minute, hour, day of month, month, day of week) or one of "
            f"{', '.join(_ALIASES)}; seconds, years, @reboot and @every do not exist",
        ),
        free_of(r"\?", f"{field} must not hold ?; write *"),
        free_of(
            "(^|[ ,])[Rr]($|[ ,(/])", f"{field} must not hold R, which is another time at each start; write H instead"
        ),
        matches(
            f"@.*|{_FIELD}( +{_FIELD})*",
            f"{field} must hold numbers, names of three letters, ranges, steps, lists, * and H; L, W and # are not "
            "supported, name days",
        ),
    )


def zone(field: str) -> Rule:
    """The shape of a name of the IANA database."""
    return matches(
        "[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*",
        f"{field} must be a name of the IANA database, for example Europe/Berlin or Etc/UTC",
    )


class Blackout(SpecModel):
    """A stretch of time in which nothing starts and nothing is retired; a revert always may."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_LABEL), Checked(dns_label("spec.blackouts[].name"))
    ] = Field(description="Name of the blackout within this object.")
    schedule: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_CRON), Checked(*cron("spec.blackouts[].schedule"))
    ] = Field(description="When it begins: five fields, or @daily and the like.")
    duration: Annotated[timedelta, DurationBetween("spec.blackouts[].duration", timedelta(seconds=1), LONGEST)] = Field(
        description="How long it lasts, as a duration such as 8h."
    )
    time_zone: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_ZONE), Checked(zone("spec.blackouts[].timeZone"))]
        | None
    ) = Field(None, description="Time zone of its schedule. Absent: spec.timeZone.")


class Group(SpecModel):
    """Schedules of this namespace of which one runs at a time."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_LABEL), Checked(dns_label("spec.group.name"))
    ] = Field(description="Name of the group, which the others of it say too.")
    spacing: Annotated[timedelta, DurationBetween("spec.group.spacing", timedelta(seconds=1), LONGEST)] | None = Field(
        None, description="How far apart they start. Absent: one begins when the other has ended."
    )
