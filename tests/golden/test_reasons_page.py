"""The page of reasons is what the code says, and every reason a user can meet is on it."""

from elile_operator.api.reasons import Reason
from tests.golden.reasons_page import PAGE, page


def test_the_page_matches_the_code() -> None:
    assert PAGE.read_text() == page(), "run make reference"


def test_every_reason_is_on_it() -> None:
    assert [reason for reason in Reason if f"`{reason}`" not in page()] == []
