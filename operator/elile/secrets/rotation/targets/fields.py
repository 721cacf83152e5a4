"""Which keys of an entry hold a login."""

from dataclasses import dataclass

__all__ = ["CredentialFields"]


@dataclass(frozen=True, slots=True)
class CredentialFields:
    """The keys of the live entry that name the account and hold its password; the other keys are copied."""

    username: str = "username"
    value: str = "password"
