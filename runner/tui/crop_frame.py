"""The frame around the part of a picture that is kept. Pure."""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class CropFrame:
    """A frame on a grid of `columns` by `rows` cells: its first cells, and how many it has."""

    columns: int
    rows: int
    left: int
    top: int
    wide: int
    high: int

    @classmethod
    def middle(cls, columns: int, rows: int) -> Self:
        """Return a frame around the middle of the grid, half as wide and as high."""
        wide, high = max(1, columns // 2), max(1, rows // 2)
        return cls(columns, rows, (columns - wide) // 2, (rows - high) // 2, wide, high)

    def moved(self, right: int, down: int) -> Self:
        """Return the frame elsewhere, as far as the grid reaches."""
        left = min(max(0, self.left + right), self.columns - self.wide)
        top = min(max(0, self.top + down), self.rows - self.high)
        return replace(self, left=left, top=top)

    def resized(self, right: int, down: int) -> Self:
        """Return the frame with its right and lower edge elsewhere, one cell wide at least."""
        wide = min(max(1, self.wide + right), self.columns - self.left)
        high = min(max(1, self.high + down), self.rows - self.top)
        return replace(self, wide=wide, high=high)

    def grown(self, by: int) -> Self:
        """Return the frame with each edge further out, or in where `by` is negative."""
        if by < 0:
            inner = self.resized(2 * by, 2 * by)
            return inner.moved((self.wide - inner.wide) // 2, (self.high - inner.high) // 2)
        left, top = max(0, self.left - by), max(0, self.top - by)
        right = min(self.columns, self.left + self.wide + by)
        bottom = min(self.rows, self.top + self.high + by)
        return replace(self, left=left, top=top, wide=right - left, high=bottom - top)

    def fitted(self, columns: int, rows: int) -> Self:
        """Return the frame around the same part on another grid."""
        across, down = columns / self.columns, rows / self.rows
        left = min(columns - 1, round(self.left * across))
        top = min(rows - 1, round(self.top * down))
        wide = min(columns - left, max(1, round(self.wide * across)))
        high = min(rows - top, max(1, round(self.high * down)))
        return type(self)(columns, rows, left, top, wide, high)

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom in a picture of that size, in pixels."""
        across, down = width / self.columns, height / self.rows
        left = min(width - 1, int(self.left * across))
        top = min(height - 1, int(self.top * down))
        right = max(left + 1, round((self.left + self.wide) * across))
        bottom = max(top + 1, round((self.top + self.high) * down))
        return left, top, min(width, right), min(height, bottom)

    def border(self, x: int, y: int) -> str:
        """Return the character of the border in a cell, empty where it has none."""
        right, bottom = self.left + self.wide - 1, self.top + self.high - 1
        if not (self.left <= x <= right and self.top <= y <= bottom):
            return ""
        sides = (x == self.left, x == right, y == self.top, y == bottom)
        match sides:
            case (True, False, True, False):
                return "┌"
            case (False, True, True, False):
                return "┐"
            case (True, False, False, True):
                return "└"
            case (False, True, False, True):
                return "┘"
            case (False, False, False, False):
                return ""
            case (False, False, _, _):
                return "─"
            case (_, _, False, False):
                return "│"
            case _:
                return "▪"

    def contains(self, x: int, y: int) -> bool:
        """Return whether a cell is inside, its border included."""
        return 0 <= x - self.left < self.wide and 0 <= y - self.top < self.high
