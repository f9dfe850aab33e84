"""`steprun serve`: a server in the foreground; the gateway listens, the engine is behind it."""

import asyncio
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

import click

from runner.base import paths
from runner.base.errors import Exit, UsageError
from runner.base.files import write_private
from runner.base.shell import shell_line
from runner.cli.lazy import examples
from runner.cli.options import model_options, take_request
from runner.cli.render.common import TransientLine
from runner.cli.render.wrap import say
from runner.gateway.settings import Settings
from runner.net.endpoint import is_loopback_host
from runner.plan.launch import LaunchSpec


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
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="After a signal to stop, finish answers that have begun for so long.",
)
@click.option("--dry-run", is_flag=True, help="Print the launch line and exit.")
def serve(
    *,
    demo: bool,
    port: int,
    host: str,
    api_key_file: Path | None,
    drain: float,
    dry_run: bool,
    **options: Any,
) -> int:
    """Serve the model with OpenAI- and Anthropic-compatible APIs: streaming, images, tools."""
    from runner.cli.terminal import make_ready, must_fit
    from runner.engine.process.supervisor import check_port
    from runner.run.files import locate
    from runner.run.prepare import engine_notice, launch_line, make_plan

    if not host.strip():
        raise UsageError(
            "The address to listen on is empty.",
            why="An engine would listen on every one that this computer has.",
            next="Leave --host out, or for all of them: steprun serve --host 0.0.0.0",
        )
    prepared = make_plan(take_request(options, demo=demo), to_run=True, verb="serve")
    must_fit(prepared)
    own_key = api_key_file is None and not is_loopback_host(host)
    key_file = paths.config_dir() / "server.key" if own_key else api_key_file
    if dry_run:
        key = ("--api-key-file", str(key_file)) if key_file else ()
        line = launch_line(prepared, locate(prepared).files)
        argv = (*line.argv, "--host", host, "--port", str(port), *key)
        click.echo(shell_line(argv, line.env))
        return Exit.DONE
    check_port(host, port)
    ready = make_ready(prepared)
    say(engine_notice(prepared), err=True)
    if own_key and key_file is not None:
        if not key_file.exists():
            write_private(key_file, secrets.token_urlsafe(32) + "\n")
        say(
            f"{host} can be reached from other machines, so clients need the API key in {key_file}",
            err=True,
        )
    settings = Settings(
        host=host,
        port=port,
        model=prepared.plan.model_spec.name,
        title=prepared.title,
        quant=prepared.plan.variant.name,
        context=prepared.plan.config.context,
        parallel=prepared.plan.config.parallel,
        sees=prepared.plan.config.projector,
        key_file=key_file,
        drain_s=drain,
    )
    try:
        ended = asyncio.run(_serve(settings, prepared.engine.program, ready.spec))
    except asyncio.CancelledError:
        return Exit.DONE  # a service manager stopped it
    except KeyboardInterrupt:  # before the signals were taken over
        ended = Exit.INTERRUPTED
    if ended == Exit.INTERRUPTED:
        click.echo("Stopped.", err=True)
    return ended


class _OnTerminal:
    """Tells the operator what happens, on stderr."""

    def __init__(self, settings: Settings, line: TransientLine) -> None:
        self._settings = settings
        self._line = line
        self._base = ""
        self._restarting = False

    def listening(self, port: int) -> None:
        host = self._settings.host
        self._base = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def loading(self, seconds: float) -> None:
        self._line.show(f"loading {self._settings.title} ... {seconds:.0f} s")

    def ready(self, log: str) -> None:
        self._line.clear()
        if self._restarting:
            self._restarting = False
            click.echo(f"{self._settings.title} answers again (log: {log}).", err=True)
            return
        click.echo(f"Serving {self._settings.title}. Stop with Ctrl-C.", err=True)
        click.echo(f"  OpenAI:    {self._base}/v1", err=True)
        click.echo(f"  Anthropic: {self._base}", err=True)
        click.echo(f"  key:       {self._settings.key_file or 'none required'}", err=True)
        click.echo(f"  log:       {log}", err=True)

    def restarting(self, why: str, seconds: float) -> None:
        self._restarting = True
        self._line.clear()
        click.echo(f"{why} It is started again in {seconds:g} s.", err=True)

    def draining(self, answers: int, seconds: float) -> None:
        self._line.clear()
        some = "1 answer" if answers == 1 else f"{answers} answers"
        click.echo(f"Waiting for {some}, {seconds:g} s at most. Ctrl-C ends at once.", err=True)


async def _serve(settings: Settings, argv: tuple[str, ...], spec: LaunchSpec) -> int:
    from runner.engine.process.supervisor import EngineProcess
    from runner.gateway.run import StopSignal, run

    stop, interrupted = StopSignal(), False
    loop = asyncio.get_running_loop()

    def ask(number: int, _: object = None) -> None:
        nonlocal interrupted
        interrupted = interrupted or number == signal.SIGINT
        loop.call_soon_threadsafe(stop.ask)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is None or signal.getsignal(number) is signal.SIG_IGN:  # nohup means it
            continue
        if sys.platform == "win32":
            signal.signal(number, ask)
        else:
            loop.add_signal_handler(number, ask, number)
    with TransientLine() as line:
        await run(settings, lambda: EngineProcess(argv, spec), _OnTerminal(settings, line), stop)
    return Exit.INTERRUPTED if interrupted else Exit.DONE
