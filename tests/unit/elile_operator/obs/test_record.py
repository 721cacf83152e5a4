"""A record is made safe before any format sees it."""

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import pytest

from elile_operator.obs.record import SHOWN_MEMBERS, SafeRecord, make_safe
from tests.unit.elile_operator.obs.test_redact import HVS


class Reason(StrEnum):
    SYNCED = "Synced"


class Value:
    def __repr__(self) -> str:
        return "hunter2"


def record(
    msg: object = "text", *args: object, name: str = "elile", error: BaseException | None = None, fields: object = None
) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord(name, logging.INFO, "dir/module.py", 7, msg, args, exc_info)
    if fields is not None:
        made.fields = fields
    return made


def safe(*args: Any, **kwargs: Any) -> SafeRecord:
    return make_safe(record(*args, **kwargs))


def test_time_level_and_logger() -> None:
    made = record()
    made.created = datetime(2030, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC).timestamp()
    assert make_safe(made) == SafeRecord("2030-01-02T03:04:05.678Z", "INFO", "elile", "text", {}, ())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        pytest.param(("plain 100 %",), "plain 100 %", id="no arguments"),
        pytest.param(("%s of %d", "one", 2), "one of 2", id="arguments"),
        pytest.param(("%(a)s", {"a": "x"}), "x", id="a mapping"),
        pytest.param((f"token {HVS}",), "token ***", id="a secret in the text"),
        pytest.param(("token %s", HVS), "token ***", id="a secret in the arguments"),
        pytest.param(("failed: %s", ValueError("hunter2")), "failed: ValueError", id="an exception as argument"),
        pytest.param(("failed: %(e)r", {"e": ValueError("hunter2")}), "failed: 'ValueError'", id="in a mapping"),
        pytest.param((ValueError("hunter2"),), "ValueError", id="an exception as message"),
        pytest.param(("%d", "hunter2"), "log line at module:7 does not fit its arguments", id="wrong type"),
        pytest.param(("%s %s", "hunter2"), "log line at module:7 does not fit its arguments", id="too few"),
        pytest.param(
            ("Unprocessed streams left for [" + "(secrets, 'uid'), " * 9 + "].",),
            "Unprocessed streams left for some objects",
            id="Kopf's last words",
        ),
    ],
)
def test_message(args: tuple[object, ...], message: str) -> None:
    assert safe(*args).message == message


@pytest.mark.parametrize(
    "text",
    [
        "Task exception was never retrieved\nfuture: <Task finished name='x' exception=ValueError('hunter2')>",
        "future: <Future finished result='hunter2'>",
        "future: <Task finished exception=my.errors.Odd('hunter2\nhunter2')>",
    ],
)
def test_asyncio_does_not_quote_exceptions_and_results(text: str) -> None:
    assert "hunter2" not in safe(text, name="asyncio").message
    assert safe(text, name="asyncio").message.startswith(text[:8])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("shop", "shop"),
        (Reason.SYNCED, "Synced"),
        (7, 7),
        (0.5, 0.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (True, True),
        (None, None),
        (HVS, "***"),
        (datetime(2030, 1, 1, tzinfo=UTC), "2030-01-01T00:00:00+00:00"),
        (timedelta(minutes=1), 60.0),
        (("a", HVS, Value()), ["a", "***", "<Value>"]),
        (Value(), "<Value>"),
        ({"password": "hunter2"}, "<dict>"),
        (b"hunter2", "<bytes>"),
        (ValueError("hunter2"), "ValueError"),
    ],
)
def test_fields(value: object, shown: object) -> None:
    assert safe(fields={"key": value}).fields == {"key": shown}


@pytest.mark.parametrize("fields", ["hunter2", ["hunter2"], None])
def test_fields_that_are_none(fields: object) -> None:
    assert safe(fields=fields).fields == {}


def test_a_str_subclass_is_written_as_what_it_is_and_not_as_what_it_says() -> None:
    class Shown(str):
        def __str__(self) -> str:
            return "***"

    assert safe(fields={"key": Shown("hunter2")}).fields == {"key": "***"}


def boom() -> None:
    try:
        raise KeyError("hunter2")
    except KeyError as error:
        raise ValueError("hunter2") from error


def test_exceptions_are_shown_without_text_with_their_causes() -> None:
    try:
        boom()
    except ValueError:
        made = logging.LogRecord("elile", logging.ERROR, "m.py", 7, "failed", (), sys.exc_info())
    failures = make_safe(made).failures
    assert [f.error for f in failures] == ["ValueError", "KeyError"]
    assert [frame.split(" ")[1] for frame in failures[0].trace] == [
        "test_exceptions_are_shown_without_text_with_their_causes",
        "boom",
    ]
    assert "hunter2" not in repr(failures)


def test_groups_show_some_members() -> None:
    group = ExceptionGroup("hunter2", [ValueError(str(i)) for i in range(9)])
    assert [f.error for f in safe(error=group).failures][1:] == ["ValueError"] * SHOWN_MEMBERS


def test_exc_info_without_an_exception() -> None:
    made = record()
    made.exc_info = (None, None, None)
    assert make_safe(made).failures == ()


def test_huge_messages_are_not_looked_through_to_the_end() -> None:
    fields: Mapping[str, object] = {"key": "x" * 10**7}
    made = safe("y" * 10**7, fields=fields)
    assert len(made.message) == len(str(made.fields["key"])) == 65536
