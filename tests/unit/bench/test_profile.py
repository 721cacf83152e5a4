"""CPU of a profile is told by the part of the program that it belongs to, and by thread and function."""

import pytest

from bench.profile.record import Record, group_of, less, thread_of
from bench.profile.table import render

SITE = "/x/.venv/lib/python3.11/site-packages"


def record(file: str, builtin: str = "", *, thread: str = "main", calls: int = 1, seconds: float = 1.0) -> Record:
    return Record(thread, file, "f", builtin, calls, seconds)


@pytest.mark.parametrize(
    ("file", "builtin", "group"),
    [
        (f"{SITE}/requests/sessions.py", "", "requests"),
        (f"{SITE}/requests/sessions.py", "<built-in method builtins.len>", "requests"),
        (f"{SITE}/urllib3/response.py", "<method 'recv_into' of '_socket.socket' objects>", "sockets"),
        ("/usr/lib/python3.11/ssl.py", "<method 'read' of '_ssl._SSLSocket' objects>", "TLS (_ssl)"),
        ("/usr/lib/python3.11/ssl.py", "", "ssl"),
        ("/usr/lib/python3.11/http/client.py", "", "http.client, email"),
        ("/usr/lib/python3.11/email/feedparser.py", "", "http.client, email"),
        ("/usr/lib/python3.11/concurrent/futures/thread.py", "", "threads"),
        ("/usr/lib/python3.11/json/decoder.py", "", "json"),
        ("/x/operator/elile/secrets/vault.py", "", "elile.secrets"),
        ("/x/operator/elile_operator/sources/reads.py", "", "elile_operator.sources"),
        ("<frozen importlib._bootstrap>", "", "import"),
        ("<string>", "", "methods of dataclasses"),
        ("/x/bench/profile/inside.py", "", "other"),
    ],
)
def test_each_record_counts_for_one_part(file: str, builtin: str, group: str) -> None:
    assert group_of(record(file, builtin)) == group


@pytest.mark.parametrize(
    ("name", "pool"), [("elile-vault_11", "elile-vault"), ("main", "main"), ("Thread-3", "Thread")]
)
def test_threads_of_a_pool_are_one(name: str, pool: str) -> None:
    assert thread_of(record("x", thread=name)) == pool


def test_what_came_between_two_times_is_the_difference() -> None:
    before = [record("a", calls=2, seconds=1.0), record("b", calls=1, seconds=5.0)]
    after = [record("a", calls=5, seconds=1.5), record("b", calls=1, seconds=5.0), record("c", calls=1, seconds=0.25)]
    assert less(after, before) == [record("a", calls=3, seconds=0.5), record("c", calls=1, seconds=0.25)]


def test_records_of_one_function_in_one_thread_are_summed() -> None:
    """A code object that was compiled twice has two."""
    assert less([record("a"), record("a")], []) == [record("a", calls=2, seconds=2.0)]


def test_tables_tell_the_most_expensive_first() -> None:
    records = [
        Record("vault_1", f"{SITE}/requests/sessions.py", "send", "", 10, 0.030),
        Record("vault_2", f"{SITE}/requests/sessions.py", "send", "", 10, 0.030),
        Record("main", f"{SITE}/kopf/reactor.py", "run", "", 5, 0.040),
    ]
    text = render("At rest", records, per=10, of="poll", top=2)
    assert "0.10 s of CPU in functions, 10.00 ms for each poll." in text
    assert "| vault | 0.060 | 60.0% | 6000 | 2.0 |" in text
    assert text.index("| requests | 0.060") < text.index("| kopf | 0.040")
    assert "| requests: sessions.send | 0.060 | 60.0% | 6000 | 2.0 |" in text
