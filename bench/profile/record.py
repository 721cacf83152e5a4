"""What one function, or one builtin called by it, has taken in one thread; and whose part of the program that is."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Record", "group_of", "less", "thread_of"]

# What is told of itself, whoever called it: the work of servers' protocols.
BUILTINS = (
    (re.compile(r"_ssl|SSL"), "TLS (_ssl)"),
    (re.compile(r"_socket|socket\.socket"), "sockets"),
    (re.compile(r"json"), "JSON"),
    (re.compile(r"select\.|epoll"), "waiting (epoll)"),
    (re.compile(r"_thread|lock|SimpleQueue"), "locks and queues"),
    (re.compile(r"marshal|_imp\.|builtins\.compile|__build_class__|posix\.stat"), "import"),
)
INSTALLED = re.compile(r"/(?:site|dist)-packages/([A-Za-z0-9_]+)")
OURS = re.compile(r"/operator/(elile_operator/[a-z_]+|elile/secrets)")
STANDARD = re.compile(r"/lib/python3\.\d+/([A-Za-z0-9_]+)")
# Of the standard library, what belongs together.
TOGETHER = {
    "http": "http.client, email",
    "email": "http.client, email",
    "concurrent": "threads",
    "threading": "threads",
}


@dataclass(frozen=True, slots=True)
class Record:
    """`seconds` of CPU are the function's own, or those of a `builtin` that it called; `file` is where it is."""

    thread: str
    file: str
    function: str
    builtin: str
    calls: int
    seconds: float

    @property
    def values(self) -> tuple[str, str, str, str, int, float]:
        """As the constructor takes them."""
        return *self.key, self.calls, self.seconds

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.thread, self.file, self.function, self.builtin


def less(later: Iterable[Record], earlier: Iterable[Record]) -> list[Record]:
    """Return what came between two times."""
    before: dict[tuple[str, ...], tuple[int, float]] = {}
    for r in earlier:
        calls, seconds = before.get(r.key, (0, 0.0))
        before[r.key] = calls + r.calls, seconds + r.seconds
    after: dict[tuple[str, str, str, str], tuple[int, float]] = {}
    for r in later:
        calls, seconds = after.get(r.key, (0, 0.0))
        after[r.key] = calls + r.calls, seconds + r.seconds
    found = []
    for key, (calls, seconds) in after.items():
        calls_before, seconds_before = before.get(key, (0, 0.0))
        if calls > calls_before or seconds > seconds_before:
            found.append(Record(*key, calls - calls_before, seconds - seconds_before))
    return found


def group_of(record: Record) -> str:
    """The package that a record counts for; a builtin for that of its caller, if it is not a matter of its own."""
    for pattern, name in BUILTINS:
        if record.builtin and pattern.search(record.builtin):
            return name
    if record.file == "<string>":
        return "methods of dataclasses"
    if "importlib" in record.file:
        return "import"
    if match := OURS.search(record.file):
        return match[1].replace("/", ".")
    if match := INSTALLED.search(record.file):
        return match[1]
    if match := STANDARD.search(record.file):
        return TOGETHER.get(match[1], match[1])
    return "other"


def thread_of(record: Record) -> str:
    """Threads of one pool are one."""
    return re.sub(r"[-_]?\d+$", "", record.thread)
