"""The machinery under every controller, which knows nothing of secrets: clock, work queue, store, resync, workers."""

from elile_operator.engine.backoff import Backoff
from elile_operator.engine.body import Body, ObjectKey, object_key
from elile_operator.engine.clock import Alarm, Clock, SystemClock, Timer, deadline
from elile_operator.engine.observer import Observer
from elile_operator.engine.queue import QueueClosedError, QueueStats, WorkQueue
from elile_operator.engine.reflector import DeniedError, Following, Reflector, Watcher
from elile_operator.engine.result import Reconciler, Result
from elile_operator.engine.resync import Lister, ListExpiredError, Page, Resync
from elile_operator.engine.runner import Runner
from elile_operator.engine.schedule import Priority
from elile_operator.engine.store import Change, Entry, Listing, ObjectStore

__all__ = [
    "Alarm",
    "Backoff",
    "Body",
    "Change",
    "Clock",
    "DeniedError",
    "Entry",
    "Following",
    "ListExpiredError",
    "Lister",
    "Listing",
    "ObjectKey",
    "ObjectStore",
    "Observer",
    "Page",
    "Priority",
    "QueueClosedError",
    "QueueStats",
    "Reconciler",
    "Reflector",
    "Result",
    "Resync",
    "Runner",
    "SystemClock",
    "Timer",
    "Watcher",
    "WorkQueue",
    "deadline",
    "object_key",
]
