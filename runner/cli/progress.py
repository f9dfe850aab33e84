"""Progress of long work on stderr: a bar that is overwritten, or a line for each step."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from runner.cli import output

Progress = Callable[[str, int, int], None]  # what is being done, how much of it, of how much
_BYTES = 1 << 20  # counts above this are bytes: no build has a million steps
_WINDOW_S = 20.0  # a rate is that of the last so many seconds
_LINE_S = 60.0  # between two lines in a log


@contextmanager
def shown(*, paced: bool = False) -> Iterator[Progress]:
    """Yield what long work tells its progress to; the bar is gone at the end.

    `paced`: with the rate and the time left, for work that goes on at an even pace.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    pace = Pace() if paced else None
    if not console.is_terminal:
        yield _Lines(pace)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None if paced else 40),
        TextColumn("{task.fields[done]}", markup=False),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, done="")

        def tell(doing: str, done: int, whole: int) -> None:
            bar.update(
                task,
                description=doing,
                completed=done,
                total=whole or None,
                done=_said(pace, doing, done, whole),
            )

        yield tell


class Pace:
    """How fast something has gone lately, and how long the rest takes at that rate."""

    def __init__(self) -> None:
        self._doing = ""
        self._seen: deque[tuple[float, int]] = deque()

    def words(self, doing: str, done: int, whole: int) -> str:
        """Take note of how far it is, and return the rate and the time left, if known."""
        now = time.monotonic()
        if doing != self._doing:  # what was checked is no measure of what is fetched
            self._doing = doing
            self._seen.clear()
        self._seen.append((now, done))
        while self._seen[0][0] < now - _WINDOW_S:
            self._seen.popleft()
        (then, before) = self._seen[0]
        if now - then < 1 or done <= before:
            return ""
        rate = (done - before) / (now - then)
        return f"{output.rate(rate)}, {output.duration((whole - done) / rate)} left"


class _Lines:
    """Says each step once, and once a minute how far it is: in a log or a pipe."""

    def __init__(self, pace: Pace | None) -> None:
        self._pace = pace
        self._last = ""
        self._said = 0.0

    def __call__(self, doing: str, done: int, whole: int) -> None:
        now = time.monotonic()
        if doing != self._last:
            click.echo(f"{doing} ...", err=True)
        elif self._pace is not None and now - self._said > _LINE_S:
            click.echo(f"{doing}: {_said(self._pace, doing, done, whole)}", err=True)
        else:
            return
        self._last, self._said = doing, now


def _said(pace: Pace | None, doing: str, done: int, whole: int) -> str:
    speed = pace.words(doing, done, whole) if pace is not None and whole else ""
    return ", ".join(part for part in (_of(done, whole), speed) if part)


def _of(done: int, whole: int) -> str:
    if not whole:
        return ""
    if whole >= _BYTES:
        return f"{output.size(done)} of {output.size(whole)}"
    return f"{done} of {whole}"
