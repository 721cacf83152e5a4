"""Where in which file the forwarder is."""

from dataclasses import dataclass

__all__ = ["NOWHERE", "Known", "Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """A line of that file begins at `offset` (bytes)."""

    device: int
    inode: int
    offset: int


NOWHERE = Place(0, 0, 0)  # of no file


@dataclass(frozen=True, slots=True)
class Known:
    """A place to go on at, and a digest of what was before it: inodes are used again, and files are cut."""

    place: Place
    mark: str
