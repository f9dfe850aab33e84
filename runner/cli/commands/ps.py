"""`steprun ps`: the servers that run here, what each reads and writes for whom, and how fast."""

from typing import Any

import click

from runner.base.errors import Exit
from runner.cli.lazy import examples
from runner.cli.render.common import emit_json
from runner.cli.render.ps import server_text
from runner.cli.render.wrap import say
from runner.cli.servers import NONE_RUNS
from runner.engine.process import servers
from runner.engine.process.servers import ServerRecord
from runner.gateway.asking import status_of


@click.command(epilog=examples("steprun ps", "steprun ps --json"))
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.ps/1).")
def ps(*, as_json: bool) -> int:
    """Show the servers that run here: who is served, what is read and written, how fast."""
    found = [_described(record) for record in servers.running()]
    if as_json:
        emit_json({"schema": "steprun.ps/1", "servers": found})
    elif found:
        click.echo("\n\n".join(server_text(each) for each in found))
    else:
        say(NONE_RUNS, err=True)
    return Exit.DONE


def _described(record: ServerRecord) -> dict[str, Any]:
    """Return a server, from its record alone where it does not answer."""
    served = record.served
    known = {
        "url": record.url,
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
