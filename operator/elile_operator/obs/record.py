"""What of a LogRecord may be written: message, fields and exceptions, made safe before any format sees them."""

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from elile_operator.obs.failure import chain, describe, trace
from elile_operator.obs.redact import redact

Scalar: TypeAlias = str | int | float | bool | None

MAX_TEXT = 65536  # characters of one text that are looked at; what is beyond would be cut off anyway
SHOWN_MEMBERS = 4  # of an exception group

# asyncio reports lost exceptions by the repr of their task, which quotes the text of the exception, or the result.
_TASK_REPR = re.compile(r"\b(exception|result)=([\w.]{0,80}).*", re.DOTALL)
# Kopf names every object it had not handled when it exits: 300 kB in one line at 10,000 objects.
_UNPROCESSED = "Unprocessed streams left for"


@dataclass(frozen=True, slots=True)
class Failure:
    """One exception of a chain: what it is, and the frames it came through, innermost last."""

    error: str
    trace: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SafeRecord:
    """A record that may leave the process."""

    ts: str  # RFC 3339, UTC, milliseconds
    level: str
    logger: str
    message: str
    fields: Mapping[str, Scalar | list[Scalar]]
    failures: tuple[Failure, ...]


def make_safe(record: logging.LogRecord) -> SafeRecord:
    """Never raises: a record that cannot be formatted says so, without its arguments."""
    stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    fields = getattr(record, "fields", None)
    return SafeRecord(
        ts=stamp.replace("+00:00", "Z"),
        level=record.levelname,
        logger=record.name,
        message=_message(record),
        fields={str(k): _field(v) for k, v in fields.items()} if isinstance(fields, Mapping) else {},
        failures=_failures(record.exc_info[1] if record.exc_info else None),
    )


def _message(record: logging.LogRecord) -> str:
    try:
        # Exceptions among the arguments too: the habit of `log.error("…: %s", error)` must be harmless.
        text = str(_shown(record.msg))
        if isinstance(record.args, Mapping):
            text %= {k: _shown(v) for k, v in record.args.items()}
        elif record.args:
            text %= tuple(_shown(v) for v in record.args)
    except Exception:
        return f"log line at {record.module}:{record.lineno} does not fit its arguments"
    if text.startswith(_UNPROCESSED):
        return f"{_UNPROCESSED} some objects"
    if record.name == "asyncio":
        text = _TASK_REPR.sub(r"\1=\2 …", text)
    return redact(text[:MAX_TEXT])


def _shown(value: object) -> object:
    return describe(value) if isinstance(value, BaseException) else value


def _field(value: object) -> Scalar | list[Scalar]:
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_scalar(member) for member in value]
    return _scalar(value)


def _scalar(value: object) -> Scalar:
    """Plain values as they are; of anything else the class alone, since its repr may hold what must not be shown."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return redact(str(value)[:MAX_TEXT])
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, BaseException):
        return redact(describe(value))
    return f"<{type(value).__name__}>"


def _failures(error: BaseException | None) -> tuple[Failure, ...]:
    if error is None:
        return ()
    shown: list[BaseException] = []
    for link in chain(error):
        shown.append(link)
        if isinstance(link, BaseExceptionGroup):
            shown.extend(link.exceptions[:SHOWN_MEMBERS])
    return tuple(Failure(redact(describe(e)), tuple(trace(e.__traceback__))) for e in shown)
