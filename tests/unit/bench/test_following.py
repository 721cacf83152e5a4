"""A log is read as it grows, each whole line once."""

from pathlib import Path

from bench.following import Following, at


def test_lines_are_read_once_when_they_are_whole(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text('{"n": 0}\n')
    following = Following(log)
    assert list(following.fresh()) == []
    with log.open("a") as out:
        out.write('{"n": 1}\n{"n": 2}\n{"n"')
        out.flush()
        assert list(following.fresh()) == [{"n": 1}, {"n": 2}]
        assert list(following.fresh()) == []
        out.write(": 3}\n")
        out.flush()
        assert list(following.fresh()) == [{"n": 3}]


def test_lines_without_a_mark_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.touch()
    following = Following(log, '"secrets"', '"pods"')
    log.write_text('{"of": "secrets"}\nno JSON\n{"of": "pods"}\n')
    assert list(following.fresh()) == [{"of": "secrets"}, {"of": "pods"}]


def test_times_are_seconds() -> None:
    assert at("1970-01-01T00:01:00.250000Z") == 60.25
