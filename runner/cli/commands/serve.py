"""`steprun serve`: a server in the foreground; the gateway listens, the engine is behind it."""

import asyncio
import errno
import gc
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from runner.base.errors import Exit, UsageError
from runner.base.shell import shell_line
from runner.cli.lazy import examples
from runner.cli.options import (
    demo_option,
    kv_disk_option,
    model_options,
    sleep_options,
    take_request,
    typed_again,
)
from runner.cli.render.common import TransientLine
from runner.cli.render.serving import ServeReport
from runner.cli.render.wrap import say
from runner.cli.serve_service import install, replaces, service_options, uninstall_or_show
from runner.gateway.settings import PictureUrls, Settings
from runner.net.endpoint import is_loopback_host

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.gateway.engine.keeper import Engine
    from runner.gateway.engine.rungs import Rungs
    from runner.net.listening import Again
    from runner.run.prepare import Prepared
    from runner.run.request import ModelRequest

_LOOPBACK: Final = "127.0.0.1"
_TAKEN: Final = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}


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
@demo_option("Serve")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on.",
)
@click.option("--host", default=_LOOPBACK, show_default=True, help="Address to listen on.")
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
@kv_disk_option
@sleep_options
@click.option(
    "--keep-headers",
    is_flag=True,
    help="Pass on what a client changes in each system prompt. Each is then read as a new one.",
)
@click.option(
    "--allow-repetition",
    is_flag=True,
    help="Do not end an answer that repeats itself without end: it then fills the context.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the launch line and exit; with --install, what it would write.",
)
@service_options
def serve(
    *,
    demo: str | None,
    port: int,
    host: str,
    api_key_file: Path | None,
    certificate: Path | None,
    certificate_key: Path | None,
    allow_hosts: tuple[str, ...],
    allow_origins: tuple[str, ...],
    drain: float,
    picture_urls: PictureUrls,
    keep_headers: bool,
    allow_repetition: bool,
    on_demand: bool,
    idle_unload: float,
    dry_run: bool,
    service: str | None,
    limit_memory: bool,
    agreed: bool,
    **options: Any,
) -> int:
    """Serve the model with OpenAI-, Anthropic- and Ollama-compatible APIs: images, tools."""
    if service in {"uninstall", "status"}:
        return uninstall_or_show(service, agreed=agreed)
    from runner.engine.process.servers import starting_here
    from runner.run.joining import asked_of

    again = partial(typed_again, click.get_current_context())
    if (limit_memory or agreed) and not service:
        raise UsageError(
            f"{'--limit-memory' if limit_memory else '--yes'} needs --install.",
            why="Only a service is limited by systemd, and only its installation asks.",
            next="Install one: steprun serve --install",
        )
    if not host.strip():
        raise UsageError(
            "The address to listen on is empty.",
            why="A server would listen on every one that this computer has.",
            next="Leave --host out, or for all of them: steprun serve --host 0.0.0.0",
        )
    if certificate_key is not None and certificate is None:
        raise UsageError(
            "--certificate-key needs a certificate.",
            next="Name it, too: steprun serve --certificate FILE --certificate-key FILE",
        )
    asked = Settings(
        host=host,
        port=port,
        key_file=api_key_file,
        certificate=certificate,
        certificate_key=certificate_key,
        allow_hosts=allow_hosts,
        allow_origins=allow_origins,
        drain_s=drain,
        picture_urls=picture_urls,
        keep_headers=keep_headers,
        allow_repetition=allow_repetition,
        on_demand=on_demand,
        idle_unload_s=idle_unload,
    )
    try:
        request = take_request(options, demo=demo)
        if service:
            prepared = _prepared(request, asked, again, ready=not dry_run)
            return install(prepared, limit_memory=limit_memory, agreed=agreed, dry_run=dry_run)
        if dry_run:
            return _printed(request, asked)
        with starting_here(*asked_of(request)):
            return _served(request, asked, again)
    except asyncio.CancelledError:
        return Exit.DONE  # a service manager stopped it
    except (KeyboardInterrupt, click.Abort):  # before the signals were taken over; at a question
        click.echo("Stopped.", err=True)
        return Exit.INTERRUPTED


def _prepared(
    request: "ModelRequest", asked: Settings, again: "Again", *, ready: bool
) -> "Prepared":
    """Return the plan of what is to be served, once it would start: as a service it cannot ask.

    `ready`: also download what is missing, and check the port and the keys.
    """
    from runner.cli.terminal import make_ready, must_fit
    from runner.net.listening import check_listen
    from runner.run.prepare import make_plan

    prepared = make_plan(request, to_run=True, verb="serve")
    must_fit(prepared)
    if ready:
        _check_access(asked, own_key=False)
        if not replaces(asked.port):
            check_listen(asked.host, asked.port, again)
        make_ready(prepared)
    return prepared


def _printed(request: "ModelRequest", asked: Settings) -> int:
    """Print the line that starts the engine alone, as one pastes it into a shell."""
    from runner.cli.terminal import must_fit
    from runner.run.files import locate
    from runner.run.prepare import make_plan, spec_of

    prepared = make_plan(request, to_run=True, verb="serve")
    must_fit(prepared)
    spec = spec_of(prepared, locate(prepared).files)
    here = is_loopback_host(asked.host)
    where = ("--host", asked.host if here else _LOOPBACK, "--port", str(asked.port))
    click.echo(shell_line((*prepared.engine.program, *spec.argv, *where), spec.env))
    if not here or asked.key_file or asked.certificate:
        say(
            "This line starts the engine without the gateway, which is what knows keys, "
            "certificates and other machines. It therefore listens on this machine only, and asks "
            "for no key.",
            err=True,
        )
    return Exit.DONE


def _served(request: "ModelRequest", asked: Settings, again: "Again") -> int:
    """Serve a model until it is stopped; return the exit code.

    `asked`: what the command line says of the gateway.
    """
    from runner.cli.servers import asleep
    from runner.cli.terminal import make_ready, must_fit
    from runner.engine.process.supervisor import EngineProcess
    from runner.gateway.model_rungs import rungs_of
    from runner.gateway.model_settings import with_files
    from runner.net.listening import cannot_listen, check_listen
    from runner.run import saved_prompts
    from runner.run.prepare import engine_notice, make_plan

    prepared = make_plan(request, to_run=True, verb="serve")
    must_fit(prepared)
    settings = _settings(prepared, asked)
    _check_access(settings, own_key=asked.key_file is None)
    check_listen(settings.host, settings.port, again)
    for each in asleep():
        say(
            f"{each.served.title} at {each.url} is asleep. While this server holds the memory, it "
            f"may not be able to wake. To use it instead: steprun chat --url {each.url}",
            err=True,
        )
    ready = make_ready(prepared)
    say(engine_notice(prepared), err=True)
    settings, spec = with_files(settings, ready, request)
    make = partial(EngineProcess, prepared.engine.program)
    rungs = rungs_of(settings, ready, request, make)
    if settings.kept and (notice := saved_prompts.in_words(prepared, request.kv_disk)):
        say(notice, err=True)
    try:
        return asyncio.run(_serve(settings, lambda: make(spec), rungs))
    except OSError as error:
        if error.errno in _TAKEN:  # by another program, after the check
            raise cannot_listen(settings.host, settings.port, error, again) from error
        raise


def _settings(prepared: "Prepared", asked: Settings) -> Settings:
    """Return the settings with what is served, and with a key file off loopback."""
    from runner.gateway.admission.key_file import own_file
    from runner.gateway.model_settings import with_model

    needs_key = asked.key_file is None and not is_loopback_host(asked.host)
    key_file = own_file() if needs_key else asked.key_file
    return with_model(replace(asked, key_file=key_file), prepared)


def _check_access(settings: Settings, *, own_key: bool) -> None:
    """Refuse keys and certificates that cannot be used, before 105 GB are loaded."""
    from runner.gateway.admission import key_file
    from runner.gateway.admission.tls import server_context

    if settings.key_file is not None:
        if own_key:
            key_file.make(settings.key_file)
        key_file.load(settings.key_file)
    if settings.certificate is not None:
        server_context(settings.certificate, settings.certificate_key)


async def _serve(settings: Settings, make: "Callable[[], Engine]", rungs: "Rungs") -> int:
    from runner.cli.render.managed import ManagedReport, watched
    from runner.gateway.run import StopSignal, run
    from runner.net.service_manager import from_environment

    # What the imports have made stays to the end. To look through its 50,000 objects for garbage
    # takes 25 ms of processor time, in which no token is passed on (x86-64, CPython 3.11).
    gc.collect()
    gc.freeze()
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
    manager = from_environment(os.environ)
    with TransientLine() as line:
        report = ServeReport(settings, line)
        if manager.listens:
            report = ManagedReport(settings, line, manager)
        async with watched(manager):
            await run(settings, make, report, stop, rungs=rungs)
    click.echo("Stopped.", err=True)
    return Exit.INTERRUPTED if interrupted else Exit.DONE
