"""`steprun serve`: a server in the foreground; the gateway listens, the engine is behind it."""

import asyncio
import errno
import secrets
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from runner.base import paths
from runner.base.errors import Exit, UsageError
from runner.base.files import write_private
from runner.base.shell import shell_line
from runner.cli.lazy import examples
from runner.cli.options import model_options, take_request, typed_again
from runner.cli.render.common import TransientLine
from runner.cli.render.serving import ServeReport
from runner.cli.render.wrap import say
from runner.gateway.settings import Settings
from runner.net.endpoint import is_loopback_host
from runner.plan.launch import LaunchSpec

if TYPE_CHECKING:
    from runner.net.listening import Again
    from runner.run.prepare import Prepared

_TAKEN: Final = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}


@click.command(
    epilog=examples(
        "steprun serve",
        "steprun serve --port 9000 --parallel 2",
        "steprun serve --dry-run",
    )
)
@model_options
@click.option("--demo", is_flag=True, help="Use a small model (93 MB) that runs anywhere.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Require the API key in FILE.",
)
@click.option("--dry-run", is_flag=True, help="Print the launch line and exit.")
def serve(
    *, demo: bool, port: int, host: str, api_key_file: Path | None, dry_run: bool, **options: Any
) -> int:
    """Serve the model with OpenAI- and Anthropic-compatible APIs: streaming, images, tools."""
    from runner.run.prepare import make_plan

    again = partial(typed_again, click.get_current_context())
    if not host.strip():
        raise UsageError(
            "The address to listen on is empty.",
            why="A server would listen on every one that this computer has.",
            next="Leave --host out, or for all of them: steprun serve --host 0.0.0.0",
        )
    try:
        return _served(
            make_plan(take_request(options, demo=demo), to_run=True, verb="serve"),
            Settings(host=host, port=port, key_file=api_key_file),
            again,
            dry_run=dry_run,
        )
    except asyncio.CancelledError:
        return Exit.DONE  # a service manager stopped it
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        return Exit.INTERRUPTED


def _served(prepared: "Prepared", asked: Settings, again: "Again", *, dry_run: bool) -> int:
    """Serve a plan until it is stopped, or print its launch line; return the exit code.

    `asked`: what the command line says of the gateway.
    """
    from runner.cli.terminal import make_ready, must_fit
    from runner.net.listening import cannot_listen, check_listen
    from runner.run.prepare import engine_notice

    must_fit(prepared)
    own_key = asked.key_file is None and not is_loopback_host(asked.host)
    settings = replace(
        asked,
        model=prepared.plan.model_spec.name,
        title=prepared.title,
        quant=prepared.plan.variant.name,
        context=prepared.plan.config.context,
        parallel=prepared.plan.config.parallel,
        sees=prepared.plan.config.projector,
        key_file=paths.config_dir() / "server.key" if own_key else asked.key_file,
    )
    if dry_run:
        click.echo(_engine_line(prepared, settings))
        return Exit.DONE
    check_listen(settings.host, settings.port, again)
    ready = make_ready(prepared)
    say(engine_notice(prepared), err=True)
    if own_key and settings.key_file is not None and not settings.key_file.exists():
        write_private(settings.key_file, secrets.token_urlsafe(32) + "\n")
    try:
        return asyncio.run(_serve(settings, prepared.engine.program, ready.spec))
    except OSError as error:
        if error.errno in _TAKEN:  # by another program, after the check
            raise cannot_listen(settings.host, settings.port, error, again) from error
        raise


def _engine_line(prepared: "Prepared", settings: Settings) -> str:
    """Return the line that starts the engine alone, as one pastes it into a shell."""
    from runner.run.files import locate
    from runner.run.prepare import spec_of

    spec = spec_of(prepared, locate(prepared).files)
    where = ("--host", settings.host, "--port", str(settings.port))
    key = ("--api-key-file", str(settings.key_file)) if settings.key_file else ()
    return shell_line((*prepared.engine.program, *spec.argv, *where, *key), spec.env)


async def _serve(settings: Settings, argv: tuple[str, ...], spec: LaunchSpec) -> int:
    from runner.engine.process.supervisor import EngineProcess
    from runner.gateway.run import run

    stop = asyncio.Event()
    if sys.platform != "win32":
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
                loop.add_signal_handler(number, stop.set)
    with TransientLine() as line:
        await run(settings, lambda: EngineProcess(argv, spec), ServeReport(settings, line), stop)
    click.echo("Stopped.", err=True)
    return Exit.DONE
