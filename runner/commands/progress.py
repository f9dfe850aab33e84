"""Progress of long work on stderr: a bar that is overwritten, or a line for each step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from runner import output

Progress = Callable[[str, int, int], None]  # what is being done, how much of it, of how much
_BYTES = 1 << 20  # counts above this are bytes: no build has a million steps


@contextmanager
def shown() -> Iterator[Progress]:
    """Yield what long work tells its progress to; the bar is gone at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
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
                done=_of(done, whole),
            )

        yield tell


class _Lines:
    """Says each step once, where nobody watches: in a log or a pipe."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, doing: str, _done: int, _whole: int) -> None:
        if doing != self._last:
            self._last = doing
            click.echo(f"{doing} ...", err=True)


def _of(done: int, whole: int) -> str:
    if not whole:
        return ""
    if whole >= _BYTES:
        return f"{output.size(done)} of {output.size(whole)}"
    return f"{done} of {whole}"
