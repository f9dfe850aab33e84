"""How much may be kept, and written. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a store, in bytes.

    `budget_bytes`: of all its files, 0 for none. `keep_free_bytes`: what is always left on the
    disk. `bytes_a_day`: the most that is written in 24 hours.
    """

    budget_bytes: int
    keep_free_bytes: int
    bytes_a_day: int
