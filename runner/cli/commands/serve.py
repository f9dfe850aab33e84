"""`steprun serve`: a server in the foreground; the gateway listens, the engine is behind it."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import click

from runner.base.errors import Exit, UsageError
from runner.base.shell import shell_line
from runner.cli.lazy import examples
from runner.cli.options import model_options, take_request
from runner.cli.render.common import TransientLine
from runner.cli.render.wrap import say
from runner.gateway.settings import PictureUrls, Settings
from runner.machine.facts import Backend
from runner.net.endpoint import is_loopback_host
from runner.plan.launch import LaunchSpec


def _names(_: click.Context, __: click.Parameter, typed: tuple[str, ...]) -> tuple[str, ...]:
    from runner.gateway.admission.hosts import host_name

    names = tuple(host_name(each) for each in typed)
    for each, name in zip(typed, names, strict=True):
        if name is None:
            raise UsageError(
                f"{each!r} is not a host name.",
                next="Type the name alone: steprun serve --allow-host llm.example.org",
            )
    return tuple(filter(None, names))


def _origins(_: click.Context, __: click.Parameter, typed: tuple[str, ...]) -> tuple[str, ...]:
    from runner.gateway.admission.origins import origin_of

    origins = tuple(origin_of(each) for each in typed)
    for each, origin in zip(typed, origins, strict=True):
        if origin is None:
            raise UsageError(
                f"{each!r} is not the origin of a web page.",
                next="Type its scheme, host and port: "
                "steprun serve --allow-origin https://chat.example.org",
            )
    return tuple(filter(None, origins))


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
    help="Require one of the API keys in FILE.",
)
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Serve https:// with the certificate in FILE (PEM).",
)
@click.option(
    "--certificate-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The certificate's private key. Default: in the same file.",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    metavar="NAME",
    multiple=True,
    callback=_names,
    help="Also answer under this host name, e.g. a proxy's. Repeatable.",
)
@click.option(
    "--allow-origin",
    "allow_origins",
    metavar="URL",
    multiple=True,
    callback=_origins,
    help="Let web pages of this origin use the server. Repeatable.",
)
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="After a signal to stop, finish answers that have begun for so long.",
)
@click.option(
    "--picture-urls",
    type=click.Choice(["public", "off", "all"]),
    default="public",
    show_default=True,
    help="Download pictures that requests name by address: from public ones, none, or all.",
)
@click.option("--dry-run", is_flag=True, help="Print the launch line and exit.")
def serve(
    *,
    demo: bool,
    port: int,
    host: str,
    api_key_file: Path | None,
    certificate: Path | None,
    certificate_key: Path | None,
    allow_hosts: tuple[str, ...],
    allow_origins: tuple[str, ...],
    drain: float,
    picture_urls: PictureUrls,
    dry_run: bool,
    **options: Any,
) -> int:
    """Serve the model with OpenAI- and Anthropic-compatible APIs: streaming, images, tools."""
    from runner.cli.terminal import make_ready, must_fit
    from runner.engine.process.stack import longest_word
    from runner.engine.process.supervisor import check_port
    from runner.gateway import key_file as keys
    from runner.gateway.tls import server_context
    from runner.run.files import locate
    from runner.run.joining import served_of
    from runner.run.prepare import engine_notice, launch_line, make_plan

    if not host.strip():
        raise UsageError(
            "The address to listen on is empty.",
            why="An engine would listen on every one that this computer has.",
            next="Leave --host out, or for all of them: steprun serve --host 0.0.0.0",
        )
    request = take_request(options, demo=demo)
    prepared = make_plan(request, to_run=True, verb="serve")
    must_fit(prepared)
    own_key = api_key_file is None and not is_loopback_host(host)
    key_file = keys.own_file() if own_key else api_key_file
    if dry_run:
        key = ("--api-key-file", str(key_file)) if key_file else ()
        line = launch_line(prepared, locate(prepared).files)
        argv = (*line.argv, "--host", host, "--port", str(port), *key)
        click.echo(shell_line(argv, line.env))
        return Exit.DONE
    if key_file is not None:
        if own_key:
            keys.make(key_file)
        keys.load(key_file)
    if certificate is not None:
        server_context(certificate, certificate_key)
    elif certificate_key is not None:
        raise UsageError(
            "--certificate-key needs a certificate.",
            next="Name it, too: steprun serve --certificate FILE --certificate-key FILE",
        )
    check_port(host, port)
    ready = make_ready(prepared)
    say(engine_notice(prepared), err=True)
    if own_key:
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
        arch=prepared.plan.model_spec.geometry.arch,
        embedding=prepared.plan.model_spec.geometry.embedding_length,
        weights_bytes=prepared.plan.variant.weights_bytes,
        on_gpu=prepared.plan.machine.backend is not Backend.CPU,
        key_file=key_file,
        certificate=certificate,
        certificate_key=certificate_key,
        allow_hosts=allow_hosts,
        allow_origins=allow_origins,
        drain_s=drain,
        served=served_of(ready, request),
        longest_word=longest_word(passed=ready.spec.long_words),
        picture_urls=picture_urls,
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
        scheme = "https" if self._settings.certificate else "http"
        self._base = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def loading(self, seconds: float) -> None:
        self._line.show(f"loading {self._settings.title} ... {seconds:.0f} s")

    def changed(self, news: str) -> None:
        self._line.clear()
        say(news, err=True)

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
