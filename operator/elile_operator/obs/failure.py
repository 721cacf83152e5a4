"""How an exception may be shown: by its class and place, and by its text only if its class vouches for that.

The text of a foreign exception may quote a request, a response or an object, and with it a secret value. A class of
ours vouches by having an attribute `safe_text`, a string that was put together from names, reasons and remedies alone.
"""

import traceback
from pathlib import PurePath
from types import TracebackType

SHOWN_CAUSES = 4  # of a chain; what is deeper is repetition
SHOWN_FRAMES = 20


def safe_text(error: BaseException) -> str | None:
    """The text that the class of `error` vouches for, or None."""
    text = getattr(error, "safe_text", None)
    return text if isinstance(text, str) else None


def describe(error: BaseException) -> str:
    """One line that names `error`: its class, the safe text if there is one, the members if it is a group."""
    name = type(error).__name__
    if text := safe_text(error):
        return f"{name}: {text}"
    if isinstance(error, BaseExceptionGroup):
        return f"{name}({', '.join(describe(member) for member in error.exceptions)})"
    return name


def where(error: BaseException) -> str:
    """The place that raised `error`, as `package/module.py:12 function`; empty if it was never raised."""
    frames = trace(error.__traceback__)
    return frames[-1] if frames else ""


def trace(tb: TracebackType | None) -> list[str]:
    """The frames of a traceback, innermost last, at most 20 of the innermost. No source text and no values."""
    # A negative limit counts from the innermost frame. Only lazily read lines: a log line must not wait for a disk.
    summary = traceback.StackSummary.extract(traceback.walk_tb(tb), limit=-SHOWN_FRAMES, lookup_lines=False)
    return [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in summary]


def chain(error: BaseException) -> list[BaseException]:
    """`error` and what it came from, nearest first, as Python would print it."""
    found = [error]
    while len(found) <= SHOWN_CAUSES:
        last = found[-1]
        cause = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if cause is None or cause in found:
            break
        found.append(cause)
    return found


def _short(filename: str) -> str:
    """Package and module are enough to find a file, and do not tell where a machine keeps it."""
    return "/".join(PurePath(filename).parts[-2:])
