"""The one exception of the lab: something a person has to read, with what to do about it."""


class LabError(Exception):
    """Bringing up, steering or clearing the lab failed; the message names what, and where its log is."""
