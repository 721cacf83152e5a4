"""Mount points are found below the lab's folder and nowhere else, whatever characters they have."""

from pathlib import Path

import pytest

from lab.mounts import parse

FOLDER = Path("/state/lab")


def line(point: str) -> str:
    return f"36 35 98:0 / {point} rw,noatime master:1 - ext3 /dev/root rw\n"


@pytest.mark.parametrize(
    ("point", "found"),
    [
        pytest.param("/state/lab", ["/state/lab"], id="the folder itself"),
        pytest.param("/state/lab/run/x", ["/state/lab/run/x"], id="below"),
        pytest.param("/state/lab2/run", [], id="a sibling that begins the same"),
        pytest.param("/state", [], id="above"),
        pytest.param(r"/state/lab/a\040b\134c", ["/state/lab/a b\\c"], id="escaped by the kernel"),
    ],
)
def test_points_below_a_folder(point: str, found: list[str]) -> None:
    assert parse(line("/") + line(point), FOLDER) == [Path(p) for p in found]


def test_the_order_of_mounting_is_kept() -> None:
    points = ["/state/lab/b", "/state/lab/a", "/state/lab/b/c"]
    assert parse("".join(map(line, points)), FOLDER) == [Path(p) for p in points]
