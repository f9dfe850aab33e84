"""Where misses between ledger and reality are kept: one private file, untrusted when it is read."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from runner.base import paths
from runner.base.state import JsonState
from runner.engine.process.taken import MemoryTaken
from runner.plan.launch import Expected
from runner.plan.memory.lessons import KEPT, Miss

KEYS: Final = 32  # machines, builds and drivers; the oldest go first
_KEY: Final = 400


class Book(Struct, frozen=True):
    """All misses, under what they are of: machine, engine build and driver."""

    schema: Literal["steprun.lessons/1"] = "steprun.lessons/1"
    misses: Annotated[
        dict[Annotated[str, Meta(max_length=_KEY)], Annotated[list[Miss], Meta(max_length=KEPT)]],
        Meta(max_length=KEYS),
    ] = msgspec.field(default_factory=dict)


def path() -> Path:
    """Return the file's path."""
    return paths.state_dir() / "lessons.json"


_BOOK: Final = JsonState(path, Book, Book)


def note(expected: Expected, own: int, everything: int, day: str) -> None:
    """Keep what one run took, in bytes: see `Miss`. A full disk is ignored."""
    miss = Miss(
        expected.bytes,
        max(own, expected.account),
        max(own, expected.account, everything if expected.driver else 0),
        expected.model[:200],
        day,
    )

    key = expected.key[:_KEY]

    def add(book: Book) -> Book:
        misses = dict(book.misses)
        kept = [*misses.pop(key, []), miss][-KEPT:]
        return Book(misses=dict([*misses.items(), (key, kept)][-KEYS:]))

    _BOOK.try_change(add)


def note_run(expected: Expected | None, taken: MemoryTaken) -> None:
    """Keep what a run took that had got ready: one that had not has not taken all."""
    if expected is not None and taken.own:
        today = dt.datetime.now().astimezone().date().isoformat()
        note(expected, taken.own, taken.all, today)


def recall(key: str) -> list[Miss]:
    """Return what is kept under a key, the oldest first."""
    return _BOOK.read().misses.get(key[:_KEY], [])


def forget() -> int:
    """Forget it all; return of how many runs that was. Raises `Refused` where it cannot."""
    kept = _BOOK.read()
    if path().exists():
        _BOOK.change(lambda _: Book())
    return sum(map(len, kept.misses.values()))


def damaged() -> bool:
    """Whether there is a file that cannot be read."""
    return _BOOK.damaged()
