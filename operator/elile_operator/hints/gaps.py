"""Why writes may have gone untold: the closed list that metric and log use."""

from enum import StrEnum

__all__ = ["Gap"]


class Gap(StrEnum):
    """After any of these the operator is told to look at everything."""

    START = "start"  # without a state: what was written before is not known
    STATE = "state"  # the state is of another file, or of a part that is gone
    TRUNCATED = "truncated"  # the file was cut, and what was in it is gone
    STALLED = "stalled"  # nobody looked for so long that a whole file may have come and gone
    TOO_LONG = "too-long"  # a line that may tell of a write is longer than is held in memory
    UNREADABLE = "unreadable"  # a line that may tell of a write is no JSON, or of a shape that nobody knows
    UNFINISHED = "unfinished"  # the last line of a file that was replaced has no end
    READ_ERROR = "read-error"  # the file could not be read any more
    FULL = "full"  # more entries were written than there are places for what waits to be sent
    REFUSED = "refused"  # the operator cannot read what it was sent
