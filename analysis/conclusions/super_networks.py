"""Which super-networks can be compared by one-shot accuracy: those that differ in nothing but the seed."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SuperNetworkGroup:
    """Searches whose super-networks are equal in everything but the seed."""

    settings: tuple[str, ...]
    """Their settings, in `setting_order`; one, unless settings differ only in what does not change the network."""
    searches: int
    """Searches with a result."""
    values: tuple[str, ...]
    """Values by which this group differs from the others, such as "k = 4"."""
