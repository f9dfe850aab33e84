"""`steprun logs`: what a server was asked and how long it took; or its engine's own log."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from runner.base import paths
from runner.base.errors import Exit, SteprunError
from runner.base.files import listed
from runner.base.text import clean
from runner.cli.lazy import examples
from runner.cli.render.requests import RequestLines
from runner.cli.servers import named, place_argument, port_of
from runner.engine.process import servers
from runner.engine.process.log import LogReader

POLL_S = 0.25


@click.command(
    epilog=examples("steprun logs", "steprun logs -f", "steprun logs 8080 -n 100 --json")
)
@place_argument
@click.option("-f", "--follow", is_flag=True, help="Show new lines as they come, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    "count",
    type=click.IntRange(0, 1_000_000),
    default=20,
    show_default=True,
    help="How many lines to begin with.",
)
@click.option("--json", "as_json", is_flag=True, help="The lines as they are: a JSON object each.")
@click.option("--engine", is_flag=True, help="The engine's own log instead.")
def logs(*, place: str, follow: bool, count: int, as_json: bool, engine: bool) -> int:
    """Show a server's requests: when, from whom, tokens read and written, and how fast.

    Neither what was asked nor what was answered is in the log. It is kept when the server ends.
    Chats with engines of their own have one log, which is shown where no server has run.
    """
    path = _engine_log(place) if engine else _request_log(place)
    show = _plain if as_json or engine else _readable()
    try:
        for line in _lines(path, count, follow=follow):
            show(line)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.DONE


def _request_log(place: str) -> Path:
    """Return the log of the server that is named, the only one, or the last one that ran.

    Where only chats have run, it is theirs.
    """
    from runner.gateway.watching.request_log import CHATS, request_log_path

    if place:
        port = port_of(place)
        found = [each.request_log for each in servers.running() if each.port == port]
        path = Path(found[0]) if found and found[0] else request_log_path(port)
        return _existing([path], f"There is no request log of a server on port {port}.")
    record = named("", "logs")
    if record is not None and record.request_log:
        return Path(record.request_log)
    known = [request_log_path(CHATS)], _found("requests-[0-9]*.jsonl")
    return _existing([path for each in known for path in each], "No server has run here yet.")


def _engine_log(place: str) -> Path:
    record = named(place, "logs --engine")
    logs = _found(f"engine-{record.pid}-*.log" if record else "engine-*.log")
    return _existing(logs, "There is no log of an engine.")


def _found(pattern: str) -> list[Path]:
    """Return the logs of a kind, the newest last."""
    found = [path for path in listed(paths.state_dir() / "logs") if path.match(pattern)]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _existing(found: list[Path], what: str) -> Path:
    if found and found[-1].exists():
        return found[-1]
    raise SteprunError(
        what,
        why="A server writes its log when it starts to listen.",
        next="Start a server: steprun serve",
    )


def _lines(path: Path, count: int, *, follow: bool) -> Iterator[str]:
    """Yield the last lines of a log, and then those that are added, through its rotation."""
    last: deque[str] = deque(maxlen=count)
    older = LogReader(path.with_name(f"{path.name}.1"))
    reader = LogReader(path)
    for each in (older, reader):
        while new := each.lines():
            last.extend(new)
    yield from last
    while follow:
        new = reader.lines()
        yield from new
        if not new:
            time.sleep(POLL_S)


def _plain(line: str) -> None:
    click.echo(clean(line))


def _readable() -> Callable[[str], None]:
    shown = RequestLines()

    def show(line: str) -> None:
        try:
            request = json.loads(line)
        except ValueError:
            return  # half a line, where the disk was full
        if isinstance(request, dict):
            for row in shown.rows(request):
                click.echo(row)

    return show
