"""Who changed an account last, as it is written behind the account's own comment: `… [elile <journal> <epoch>]`."""

import re

from elile.secrets.errors import SecretConflictError
from elile.secrets.rotation.ports import Fence

__all__ = ["marked"]

_MARK = re.compile(r" ?\[elile ([A-Za-z0-9-]+) ([0-9]{1,19})\]")


def marked(comment: str | None, fence: Fence, *, account: str) -> str:
    """Return the comment with the mark of this fence in place of the one that it has; the rest stays as it is.

    Raises SecretConflictError when it has that of another journal, or of a later epoch.
    """
    text = comment or ""
    for journal, epoch in _MARK.findall(text):
        if journal != fence.journal:
            raise SecretConflictError(
                f"{account!r} is changed by another rotation, of journal {journal}: two paths must not rotate one "
                f"account. If that rotation is gone, take [elile …] out of the account's comment",
                backend="",
            )
        if int(epoch) > fence.epoch:
            raise SecretConflictError(
                f"{account!r} was changed by a later step of this rotation ({epoch}, this is {fence.epoch}). If its "
                "journal was lost and begins anew, take [elile …] out of the account's comment",
                backend="",
            )
    text = _MARK.sub("", text)
    mark = f"[elile {fence.journal} {fence.epoch}]"
    return f"{text} {mark}" if text else mark
