"""`steprun ps`: the servers and chats that run here, what each does for whom, and how fast."""

import time
from contextlib import nullcontext
from typing import Any, Final

import click

from runner.base.errors import Exit, UsageError
from runner.base.shell import as_typed
from runner.cli.lazy import examples
from runner.cli.render.common import emit_json
from runner.cli.render.ps import server_text
from runner.cli.render.wrap import say
from runner.cli.servers import NONE_RUNS
from runner.engine.process import servers
from runner.engine.process.servers import ServerRecord
from runner.gateway.asking import status_of

WATCH_S: Final = 1.0


@click.command(epilog=examples("steprun ps", "steprun ps --watch", "steprun ps --json"))
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.ps/1).")
@click.option("-w", "--watch", is_flag=True, help="Show it again each second, until Ctrl-C.")
def ps(*, as_json: bool, watch: bool) -> int:
    """Show the servers that run here: who is served, what is read and written, how fast.

    Chats that have an engine of their own are among them.
    """
    if as_json and watch:
        raise UsageError(
            "--watch shows text, --json prints one document.",
            next="Leave one of them out: steprun ps --watch",
        )
    if watch:
        return _watch()
    found = _running()
    if as_json:
        emit_json({"schema": "steprun.ps/1", "servers": found})
    elif found:
        click.echo(_text(found))
    else:
        say(NONE_RUNS, err=True)
    return Exit.DONE


def _running() -> list[dict[str, Any]]:
    return [_described(record) for record in servers.running()]


def _text(found: list[dict[str, Any]]) -> str:
    return "\n\n".join(server_text(each) for each in found)


def _watch() -> int:
    """Show the servers until Ctrl-C, in the same place where the terminal has such."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    in_place = console.is_terminal and not console.is_dumb_terminal
    try:
        with Live(console=console, auto_refresh=False) if in_place else nullcontext() as live:
            while True:
                text = _text(_running()) or as_typed(NONE_RUNS)
                if live is None:
                    click.echo(f"{text}\n")
                else:
                    live.update(Text.from_ansi(text), refresh=True)
                time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _described(record: ServerRecord) -> dict[str, Any]:
    """Return a server, from its record alone where it does not answer."""
    served = record.served
    known = {
        "url": record.url,
        "command": record.command,
        "pid": record.pid,
        "model": served.model,
        "title": served.title,
        "quant": served.quant,
        "engine": served.engine,
        "state": "unreachable",
        "context": served.context,
        "slots": [],
        "waiting": 0,
        "memory_bytes": served.total_bytes,
        "limit_bytes": served.limit_bytes,
    }
    return {**known, **(status_of(record) or {})}
