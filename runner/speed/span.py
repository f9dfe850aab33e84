"""A figure that is known only within bounds. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """From the least to the most that a figure may be; both the same where it is known."""

    low: float
    high: float

    @property
    def factor(self) -> float:
        """How many times the least the most is; 1 for nothing at all, such as an empty prompt."""
        return self.high / self.low if self.low else 1.0

    def times(self, other: "Span") -> "Span":
        """Return the bounds of the product."""
        return Span(self.low * other.low, self.high * other.high)

    def widened(self, factor: float) -> "Span":
        """Return the bounds a factor further out."""
        return Span(self.low / factor, self.high * factor)

    def text(self) -> str:
        """Return it as people read it: `24.8`, or `24.8 to 27.2` where the ends differ."""
        return between(f"{self.low:.3g}", f"{self.high:.3g}")


def span(values: Iterable[float]) -> Span:
    """Return the bounds of at least one value."""
    found = list(values)
    return Span(min(found), max(found))


def between(low: str, high: str) -> str:
    """Return two texts as a range, what both end with (their unit) only once."""
    if low == high:
        return low
    start, _, unit = low.partition(" ")
    return f"{start if unit and high.endswith(f' {unit}') else low} to {high}"
