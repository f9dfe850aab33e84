"""Strict reading of shipped TOML: a typing error in the data must not become a wrong plan."""

import re
from typing import Any

from runner.base.errors import BadFile

REINSTALL = "Install steprun again; if you changed the file, correct the entry."


class Table:
    """A TOML table that knows its place in the file and what nobody has asked for yet."""

    def __init__(self, data: object, where: str, what: str = "the model catalog") -> None:
        """Wrap `data`, which errors call `where`, in a file that they call `what`."""
        self._where = where
        self._what = what
        if not isinstance(data, dict):
            raise self.wrong("is not a table")
        self._left: dict[str, Any] = dict(data)

    def wrong(self, why: str) -> BadFile:
        """Return the error that names this table."""
        return BadFile(
            f"{self._what} is broken: {self._where}: {why}",
            why="It ships with steprun, so this copy was changed or damaged.",
            next=REINSTALL,
        )

    def _take(self, key: str, kind: type, default: Any) -> Any:
        value = self._left.pop(key, default)
        if value is None:
            raise self.wrong(f"`{key}` is missing")
        if type(value) is not kind:  # not isinstance: TOML's `true` must not pass as a 1
            raise self.wrong(f"`{key}` is not of type {kind.__name__}")
        return value

    def text(self, key: str, pattern: str = ".*", default: str | None = None) -> str:
        """Take a text that looks like `pattern`."""
        value: str = self._take(key, str, default)
        if not re.fullmatch(pattern, value) and value != default:
            raise self.wrong(f"`{key}` is {value!r}, which no {key} looks like")
        return value

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        """Take a whole number."""
        value: int = self._take(key, int, default)
        if value < least and value != default:
            raise self.wrong(f"`{key}` is {value}; the least is {least}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a list of texts; none where it is not there."""
        found: list[Any] = self._take(key, list, [])
        if not all(type(value) is str for value in found):
            raise self.wrong(f"`{key}` holds something that is no text")
        return tuple(found)

    def pairs(self, key: str) -> dict[str, str]:
        """Take a table of names and texts; none where it is not there."""
        found: dict[str, Any] = self._take(key, dict, {})
        if not all(type(value) is str for value in found.values()):
            raise self.wrong(f"`{key}` holds something that is no text")
        return found

    def numbers(self, key: str) -> tuple[tuple[str, float], ...]:
        """Take a table of names and numbers; none where it is not there."""
        found: dict[str, Any] = self._take(key, dict, {})
        if not all(type(value) in {int, float} for value in found.values()):
            raise self.wrong(f"`{key}` holds something that is no number")
        return tuple(found.items())

    def matrix(self, key: str, columns: int) -> list[tuple[int, ...]]:
        """Take a list of rows of whole numbers, none below 0, each with `columns` of them."""
        rows: list[Any] = self._take(key, list, None)
        for row in rows:
            if not isinstance(row, list) or len(row) != columns:
                raise self.wrong(f"`{key}` has a row that is not {columns} numbers")
            if not all(type(entry) is int and entry >= 0 for entry in row):
                raise self.wrong(f"`{key}` holds {row}, which are not all whole numbers")
        return [tuple(row) for row in rows]

    def flag(self, key: str, *, default: bool) -> bool:
        """Take true or false."""
        return bool(self._take(key, bool, default))

    def table(self, key: str) -> "Table | None":
        """Take a table, if it is there."""
        return self._inner(self._left.pop(key), key) if key in self._left else None

    def tables(self, key: str) -> "dict[str, Table]":
        """Take a table of tables."""
        found: dict[str, Any] = self._take(key, dict, {})
        return {name: self._inner(table, f"{key}.{name}") for name, table in found.items()}

    def rows(self, key: str) -> "list[Table]":
        """Take a list of tables, each known by its name, or by its number."""
        rows: list[Any] = self._take(key, list, [])
        made = []
        for number, row in enumerate(rows, 1):
            name = row.get("name", number) if isinstance(row, dict) else number
            made.append(self._inner(row, f"{key}[{name}]"))
        return made

    def _inner(self, data: object, name: str) -> "Table":
        return Table(data, f"{self._where}.{name}", self._what)

    def close(self) -> None:
        """Refuse what nobody asked for: a misspelt key would otherwise be a silent default."""
        if self._left:
            raise self.wrong(f"unknown key `{next(iter(self._left))}`")
