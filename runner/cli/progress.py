"""Progress of long work on stderr: a bar that is overwritten, or a line for each step."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import click

from runner.base.progress import OnProgress, Phase, Progress
from runner.base.units import duration, rate, size
from runner.cli.render.common import is_dumb

_BYTES = 1 << 20  # larger counts are bytes: no build has a million steps
_WINDOW_S = 20.0  # seconds that a rate is measured over
_LINE_S = 60.0  # between two lines in a log


@contextmanager
def shown(*, paced: bool = False) -> Iterator[OnProgress]:
    """Yield a receiver of progress; the bar is removed at the end.

    `paced`: with the rate and the time left, for work at an even pace.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    pace = Pace() if paced else None
    if not console.is_terminal or is_dumb():
        yield _Lines(pace)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None if paced else 40),
        TextColumn("{task.fields[done]}", markup=False),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        # Before there is anything to show, what is printed would end up behind an empty bar.
        task = bar.add_task("", total=None, done="", visible=False)

        def update(now: Progress) -> None:
            bar.update(
                task,
                description=str(now),
                completed=now.done,
                total=now.total or None,
                done=_figures(pace, now),
                visible=True,
            )

        yield update


class Pace:
    """The rate of the last seconds, and how long the rest takes at that rate."""

    def __init__(self) -> None:
        self._phase: Phase | None = None
        self._seen: deque[tuple[float, int]] = deque()

    def words(self, at: Progress) -> str:
        """Note the progress, and return the rate and the time left, empty while unknown."""
        now = time.monotonic()
        if at.phase is not self._phase:  # checking says nothing about the rate of downloading
            self._phase = at.phase
            self._seen.clear()
        self._seen.append((now, at.done))
        while self._seen[0][0] < now - _WINDOW_S:
            self._seen.popleft()
        (then, before) = self._seen[0]
        if now - then < 1 or at.done <= before:
            return ""
        pace = (at.done - before) / (now - then)
        return f"{rate(pace)}, {duration((at.total - at.done) / pace)} left"


class _Lines:
    """Prints each step once, and its progress once a minute: for a log or a pipe."""

    def __init__(self, pace: Pace | None) -> None:
        self._pace = pace
        self._last = ""
        self._printed_at = 0.0

    def __call__(self, at: Progress) -> None:
        now = time.monotonic()
        if str(at) != self._last:
            click.echo(f"{at} ...", err=True)
        elif self._pace is not None and now - self._printed_at > _LINE_S:
            click.echo(f"{at}: {_figures(self._pace, at)}", err=True)
        else:
            return
        self._last, self._printed_at = str(at), now


def _figures(pace: Pace | None, at: Progress) -> str:
    speed = pace.words(at) if pace is not None and at.total else ""
    return ", ".join(part for part in (_of(at.done, at.total), speed) if part)


def _of(done: int, whole: int) -> str:
    if not whole:
        return ""
    if whole >= _BYTES:
        return f"{size(done)} of {size(whole)}"
    return f"{done} of {whole}"
