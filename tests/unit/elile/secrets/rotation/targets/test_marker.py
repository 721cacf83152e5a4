"""The mark of a fence behind the comment of an account."""

import pytest

from elile.secrets.errors import SecretConflictError
from elile.secrets.rotation.ports import Fence
from elile.secrets.rotation.targets.marker import marked

OURS = "[elile j-1 5]"


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        (None, OURS),
        ("", OURS),
        ("the shop", f"the shop {OURS}"),
        ("[elile j-1 4]", OURS),
        (OURS, OURS),
        ("the shop [elile j-1 4]", f"the shop {OURS}"),
        ("the shop [elile j-1 4] (see the wiki)", f"the shop (see the wiki) {OURS}"),
        ("[elile j-1 4] [elile j-1 3]", OURS),
        (
            "[elile] [elile j 1 2] [Elile j-1 9] [elile j-1 -9]",
            f"[elile] [elile j 1 2] [Elile j-1 9] [elile j-1 -9] {OURS}",
        ),
        ("two\nlines ", f"two\nlines  {OURS}"),
    ],
)
def test_the_text_stays_and_the_mark_is_the_last(comment: str | None, expected: str) -> None:
    assert marked(comment, Fence("j-1", 5), account="app_b") == expected


@pytest.mark.parametrize("comment", ["[elile j-1 6]", "the shop [elile j-1 6] [elile j-1 4]"])
def test_what_is_older_is_refused(comment: str) -> None:
    with pytest.raises(SecretConflictError) as caught:
        marked(comment, Fence("j-1", 5), account="app_b")
    assert str(caught.value).startswith("'app_b' was changed by a later step of this rotation (6, this is 5). If its ")
    assert "take [elile …] out of the account's comment" in str(caught.value)


@pytest.mark.parametrize("epoch", [4, 5, 6])
def test_another_journal_is_refused_with_the_remedy(epoch: int) -> None:
    with pytest.raises(SecretConflictError) as caught:
        marked(f"[elile j-2 {epoch}]", Fence("j-1", 5), account="app_b")
    assert str(caught.value) == (
        "'app_b' is changed by another rotation, of journal j-2: two paths must not rotate one account. If that "
        "rotation is gone, take [elile …] out of the account's comment"
    )
