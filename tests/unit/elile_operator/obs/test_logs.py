"""One line per record, valid and bounded, from the loggers that may speak."""

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from elile_operator.obs.logs import EXIT_NOISE, MAX_LINE, QUIET, Format, configure, install_hooks
from tests.support.process_state import restored
from tests.unit.elile_operator.obs.test_redact import HVS

log = logging.getLogger("elile_operator.test")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    with restored():
        yield


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def fail() -> None:
    raise ValueError("hunter2")


# ── formats ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_json_line(out: io.StringIO) -> None:
    configure("info", "json", stream=out)
    log.info("applied %s", "it", extra={"fields": {"kind": "ElileSecret", "namespace": "shop", "name": "db", "n": 3}})
    [line] = lines(out)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "elile_operator.test",
        "message": "applied it",
        "kind": "ElileSecret",
        "namespace": "shop",
        "name": "db",
        "n": 3,
    }


def test_json_exception(out: io.StringIO) -> None:
    configure("INFO", "json", stream=out)
    try:
        fail()
    except ValueError:
        log.exception("failed")
    [line] = lines(out)
    assert line["exception"][0]["error"] == "ValueError"
    assert line["exception"][0]["trace"][-1].endswith(" fail")
    assert "hunter2" not in out.getvalue()


def test_fields_do_not_hide_where_a_line_is_from(out: io.StringIO) -> None:
    configure("INFO", "json", stream=out)
    log.info("text", extra={"fields": {"level": "debug", "message": "other"}})
    [line] = lines(out)
    assert (line["level"], line["message"], line["level_"], line["message_"]) == ("INFO", "text", "debug", "other")


def test_console_line(out: io.StringIO) -> None:
    configure("INFO", "console", stream=out)
    log.warning("applied", extra={"fields": {"namespace": "shop", "name": "db"}})
    time, rest = out.getvalue().split(" ", 1)
    assert len(time) == len("03:04:05.678")
    assert rest == "WARNING elile_operator.test: applied namespace=shop name=db\n"


def test_console_exception(out: io.StringIO) -> None:
    configure("INFO", "console", stream=out)
    try:
        fail()
    except ValueError:
        log.exception("failed")
    assert " | ValueError at obs/test_logs.py:" in out.getvalue()
    assert " fail < obs/test_logs.py:" in out.getvalue()
    assert "hunter2" not in out.getvalue()


@pytest.mark.parametrize("text", ["one\ntwo\r\nthree", "\x1b[31mred", "bell\x07 \x85 \x7f"])
@pytest.mark.parametrize("format_", ["json", "console"])
def test_nobody_forges_a_line_or_a_colour(out: io.StringIO, format_: Format, text: str) -> None:
    configure("INFO", format_, stream=out)
    log.info(text, extra={"fields": {"name": text}})
    written = out.getvalue()
    assert written.count("\n") == 1
    assert written.rstrip("\n").isprintable()


@pytest.mark.parametrize("format_", ["json", "console"])
@pytest.mark.parametrize(
    ("text", "fields"),
    [
        pytest.param("x" * 100_000, {"name": "db"}, id="long message"),
        pytest.param("ü😀" * 50_000, {"name": "db"}, id="characters of many bytes"),
        pytest.param("text", {"name": "db", "keys": ["k" * 100] * 10_000}, id="long list"),
        pytest.param("text", {f"field{i}": "v" * 100 for i in range(2000)}, id="many fields"),
        pytest.param("half a pair \ud83d", {"name": "db"}, id="surrogate"),
        pytest.param("\n" * 8000, {"name": "db"}, id="escapes make it longer"),
    ],
)
def test_no_line_is_too_long_to_be_read(
    out: io.StringIO, format_: Format, text: str, fields: dict[str, object]
) -> None:
    configure("INFO", format_, stream=out)
    log.info(text, extra={"fields": fields})
    written = out.getvalue()
    assert 0 < len(written.encode()) <= MAX_LINE + 1
    if format_ == "json":
        [line] = lines(out)
        assert line["logger"] == "elile_operator.test"
        assert line["message"].startswith(text[:30])
        assert line.get("truncated", False) is (len(text) > 100 or len(str(fields)) > 100)


def test_a_long_chain_of_exceptions_keeps_the_first_and_the_innermost_frames(out: io.StringIO) -> None:
    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        else:
            fail()

    errors: list[Exception] = []
    for _ in range(9):
        try:
            deep(30)
        except ValueError as error:
            errors.append(error)
    configure("INFO", "json", stream=out)
    log.error("failed", exc_info=ExceptionGroup("hunter2", errors))
    try:
        raise KeyError from ExceptionGroup("hunter2", errors)
    except KeyError:
        log.exception("x" * 7000)
    short, cut = lines(out)
    assert "truncated" not in short
    assert cut["truncated"] is True
    assert len(out.getvalue().splitlines()[1]) <= MAX_LINE
    assert cut["exception"][0]["error"] == "KeyError"
    assert cut["exception"][1]["error"].startswith("ExceptionGroup(ValueError, ")
    assert cut["exception"][2]["trace"][-1].endswith(" fail")
    assert "hunter2" not in out.getvalue()


def test_secrets_do_not_get_through_a_cut(out: io.StringIO) -> None:
    configure("INFO", "console", stream=out)
    log.info("%s", "x " * (MAX_LINE // 2 - 30) + HVS * 3)
    assert "hvs." not in out.getvalue()


# ── who may speak ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [*QUIET, "kopf.objects", "aiohttp.access", "kubernetes.client.rest", "urllib3.pool"])
@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_no_level_lets_others_dump_what_they_see(out: io.StringIO, name: str, level: str) -> None:
    configure(level, "json", stream=out)
    other = logging.getLogger(name)
    other.info("body: hunter2")
    was = other.level
    other.setLevel("DEBUG")  # as kubernetes' Configuration(debug=True) does
    other.debug("body: hunter2")
    other.setLevel(was)
    assert out.getvalue() == ""
    other.warning("disconnected")
    assert [line["logger"] for line in lines(out)] == [name]


def test_our_own_level_is_as_configured(out: io.StringIO) -> None:
    configure("WARNING", "json", stream=out)
    log.info("no")
    configure("debug", "json", stream=out)
    log.debug("yes")
    assert [line["message"] for line in lines(out)] == ["yes"]


def test_configuring_again_does_not_write_twice(out: io.StringIO) -> None:
    for _ in range(3):
        configure("INFO", "json", stream=out)
    log.info("once")
    assert len(lines(out)) == 1


@pytest.mark.parametrize(("level", "format_"), [("LOUD", "json"), ("INFO", "xml")])
def test_wrong_settings_change_nothing(level: str, format_: Any) -> None:
    before = logging.getLogger().handlers[:]
    with pytest.raises(ValueError, match=r"LOUD|xml"):
        configure(level, format_)
    assert logging.getLogger().handlers == before


def test_exit_noise_is_dropped_and_other_runtime_errors_are_not(out: io.StringIO) -> None:
    configure("INFO", "json", stream=out)
    asyncio_log = logging.getLogger("asyncio")
    asyncio_log.error("an error occurred: %s", "x", exc_info=RuntimeError(EXIT_NOISE))
    asyncio_log.error(EXIT_NOISE)
    assert out.getvalue() == ""
    asyncio_log.error("lost", exc_info=RuntimeError("hunter2"))
    assert [line["message"] for line in lines(out)] == ["lost"]


def test_a_stream_that_breaks_prints_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    configure("INFO", "json", stream=stream)
    stream.close()
    log.info("%s", "hunter2")
    assert capsys.readouterr() == ("", "")


# ── what nobody caught ───────────────────────────────────────────────────────────────────────────────────────────────


def test_uncaught_exceptions_are_logged_without_text(out: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO", "json", stream=out)
    install_hooks()
    error = ValueError("hunter2")
    sys.excepthook(ValueError, error, None)
    thread = threading.Thread(target=fail, name="some-thread")
    thread.start()
    thread.join()
    sys.unraisablehook(
        SimpleNamespace(exc_type=ValueError, exc_value=error, exc_traceback=None, err_msg=None, object=1)
    )
    assert [line["level"] for line in lines(out)] == ["CRITICAL", "ERROR", "ERROR"]
    assert lines(out)[1]["thread"] == "some-thread"
    assert lines(out)[2]["error"] == "ValueError"
    assert "hunter2" not in out.getvalue() + "".join(capsys.readouterr())


def test_hooks_keep_quiet_where_python_does(out: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO", "json", stream=out)
    install_hooks()
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    noise = RuntimeError(EXIT_NOISE)
    sys.unraisablehook(
        SimpleNamespace(exc_type=RuntimeError, exc_value=noise, exc_traceback=None, err_msg=None, object=1)
    )
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert out.getvalue() == ""
    assert "KeyboardInterrupt" in capsys.readouterr().err


def test_warnings_become_lines(out: io.StringIO) -> None:
    configure("INFO", "json", stream=out)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old\nthing", DeprecationWarning, stacklevel=1)
    assert [line["logger"] for line in lines(out)] == ["py.warnings"]
