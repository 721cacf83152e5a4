"""Configures logging, once: one line per record, as JSON or for a console, with no secret in it.

Fields go in as `extra={"fields": {"kind": …, "namespace": …, "name": …}}`: `name` itself is taken on a LogRecord.
"""

import json
import logging
import sys
import threading
from types import TracebackType
from typing import IO, Any, Literal

from elile_operator.obs.failure import where
from elile_operator.obs.record import Failure, SafeRecord, make_safe

Format = Literal["json", "console"]

MAX_LINE = 8192  # bytes; collectors cut or split longer lines, and half a JSON line is none
OWN_FIELDS = frozenset({"ts", "level", "logger", "message", "exception", "truncated"})
CUT = "…"

# Below WARNING these dump requests, objects and patches (kopf.objects says a line per event): no level lets them speak.
# `client` is the logger of kubernetes.aio.
QUIET = ("kopf", "kubernetes", "client", "urllib3", "requests", "hvac", "aiohttp", "asyncio")

# Printed by an interpreter that is told to stop in the middle of a list; harmless, and alarming.
EXIT_NOISE = "generator didn't stop after athrow()"

_CONTROL = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160))} | {10: "\\n", 13: "\\r", 9: "\\t"}


class QuietFilter(logging.Filter):
    """Drops what QUIET says below WARNING, also if something sets those levels later, and the exit noise."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING and record.name.split(".", 1)[0] in QUIET:
            return False
        error = record.exc_info[1] if record.exc_info else None
        return not (
            (isinstance(error, RuntimeError) and str(error) == EXIT_NOISE)
            or (record.name in {"asyncio", "root"} and EXIT_NOISE in str(record.msg))
        )


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ts, level, logger, message, the fields, and exception if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        safe = make_safe(record)
        line: dict[str, Any] = {"ts": safe.ts, "level": safe.level, "logger": safe.logger, "message": safe.message}
        # A field must not overwrite what says where the line is from.
        line |= {(f"{k}_" if k in OWN_FIELDS else k): v for k, v in safe.fields.items()}
        if safe.failures:
            line["exception"] = [{"error": f.error, "trace": f.trace} for f in safe.failures]
        text = json.dumps(line)  # ASCII, so that characters are bytes
        return text if len(text) <= MAX_LINE else self._cut(line)

    @staticmethod
    def _cut(line: dict[str, Any]) -> str:
        """Shorten the texts until the line fits; then it is still JSON."""
        line["truncated"] = True
        for limit in (2048, 512, 128, 32):
            short = {k: _shorten(v, limit) for k, v in line.items()}
            text = json.dumps(short)
            if len(text) <= MAX_LINE:
                return text
        # Hundreds of fields.
        return json.dumps({k: short[k] for k in ("ts", "level", "logger", "message", "truncated")})


class ConsoleFormatter(logging.Formatter):
    """For people: time, level, logger, message, key=value. Escapes control characters, so nobody forges a line."""

    def format(self, record: logging.LogRecord) -> str:
        safe = make_safe(record)
        text = " ".join((self._head(safe), *(f"{k}={v}" for k, v in safe.fields.items())))
        for failure in safe.failures:
            text += f" | {_one_line(failure)}"
        text = text.translate(_CONTROL)
        # Half a surrogate pair cannot be written to any stream, and the line would be lost.
        encoded = text.encode(errors="backslashreplace")
        if len(encoded) <= MAX_LINE:
            return encoded.decode()
        return encoded[: MAX_LINE - len(CUT.encode())].decode(errors="ignore") + CUT

    @staticmethod
    def _head(safe: SafeRecord) -> str:
        return f"{safe.ts[11:23]} {safe.level:<7} {safe.logger}: {safe.message}"


def _one_line(failure: Failure) -> str:
    return f"{failure.error} at {' < '.join(reversed(failure.trace))}" if failure.trace else failure.error


def _shorten(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= limit else value[:limit] + CUT
    keep = max(4, limit // 64)
    if isinstance(value, dict):
        return {k: _shorten(v, limit) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        # Of a chain of exceptions the first says most, of a trace the last frames do.
        members = value[:keep] if value and isinstance(value[0], dict) else value[-keep:]
        return [_shorten(member, limit) for member in members]
    return value


def configure(level: str, format: Format, *, stream: IO[str] | None = None) -> None:
    """Send all logging to `stream` (default stderr) at `level` (a stdlib name) as `format`. Replaces all handlers.

    Raises ValueError for an unknown level or format.
    """
    formatters: dict[str, type[logging.Formatter]] = {"json": JsonFormatter, "console": ConsoleFormatter}
    if format not in formatters:
        raise ValueError(f"log format {format!r} is neither json nor console")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatters[format]())
    handler.addFilter(QuietFilter())
    root = logging.getLogger()
    root.setLevel(level.upper())  # before the handlers change: it raises ValueError
    root.handlers[:] = [handler]
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Of kopf.objects explicitly: Kopf's own logging setup, should it ever run, sets this one.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    # What cannot be written would be printed to stderr with its arguments, past everything above.
    logging.raiseExceptions = False
    logging.captureWarnings(True)


def install_hooks() -> None:
    """Log what nobody caught, in any thread or destructor, instead of having Python print it with its text."""
    log = logging.getLogger("elile_operator.uncaught")

    def uncaught(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, tb)  # asked for by somebody at a keyboard
        else:
            log.critical("uncaught exception", exc_info=(kind, error, tb))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
            name = args.thread.name if args.thread else None
            log.error(
                "uncaught exception in a thread",
                exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
                extra={"fields": {"thread": name}},
            )

    def unraisable(args: "sys.UnraisableHookArgs") -> None:
        # Not args.object: its repr may be anything.
        error = args.exc_value
        if isinstance(error, RuntimeError) and str(error) == EXIT_NOISE:
            return
        fields = {"error": args.exc_type.__name__, "where": where(error) if error else ""}
        log.error("exception in a destructor or callback", extra={"fields": fields})

    sys.excepthook = uncaught
    threading.excepthook = in_thread
    sys.unraisablehook = unraisable
