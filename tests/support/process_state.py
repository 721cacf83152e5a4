"""What a command sets up for its whole process, as it was before."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from elile_operator.obs.logs import QUIET


@contextmanager
def restored() -> Iterator[None]:
    """Set logging, hooks of exceptions and signals back at the end."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    levels = {name: logging.getLogger(name).level for name in (*QUIET, "kopf.objects")}
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising
    logging.captureWarnings(False)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    for number, handler in signals.items():
        signal.signal(number, handler)
