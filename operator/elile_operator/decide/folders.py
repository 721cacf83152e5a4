"""Whether one listing of a folder is better than a look at each of its entries that are followed."""

__all__ = ["is_enough", "is_worthwhile"]

# Fewer are as well looked at one by one, and nobody's rights are asked about for them.
LEAST = 4
# A listing holds every entry of the folder: more than so many for each that is followed is more than the looks take.
LISTED_PER_FOLLOWED = 4


def is_enough(followed: int) -> bool:
    """Whether so many entries of one folder are worth asking whether it may be listed."""
    return followed >= LEAST


def is_worthwhile(*, followed: int, listed: int) -> bool:
    """Whether a listing of so many entries is worth it for those that are followed."""
    return followed * LISTED_PER_FOLLOWED >= listed
