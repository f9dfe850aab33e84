"""`steprun chat`: the TUI, or with `-p` (or text on stdin) one answer to stdout."""

import asyncio
import os
import re
import sys
import time
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from runner.base.errors import Exit, UsageError
from runner.base.shell import as_typed, shell_line
from runner.base.text import clean_name
from runner.chat.host import ChatSetup, Remote
from runner.chat.wire import EFFORTS, Options
from runner.cli.lazy import examples
from runner.cli.options import demo_option, kv_disk_option, model_options, take_request
from runner.cli.render.wrap import say
from runner.cli.stdin import read_prompt
from runner.net.endpoint import Endpoint, server_address
from runner.run.request import ModelRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.chat.host import Find
    from runner.engine.process.servers import Command
    from runner.run.prepare import Prepared

_POLL_S: Final = 0.1  # while a server starts


@click.command(
    epilog=examples(
        "steprun chat",
        'steprun chat -p "What is in this picture?" --image cat.png',
        "git diff | steprun chat -p 'Review this change'",
        "steprun chat --resume",
        'steprun chat --demo pictures -p "How many shapes are there?"',
    )
)
@click.option("-p", "--prompt", help="Ask one question, print the answer and exit.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(path_type=Path),
    help="An image to send (repeatable).",
)
@demo_option("Use")
@model_options
@kv_disk_option
@click.option("--effort", type=click.Choice(EFFORTS), help="Reasoning effort.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help="Maximum answer length in tokens, reasoning included.",
)
@click.option(
    "--temperature", type=click.FloatRange(0, 5), help="Sampling temperature; 0 is greedy."
)
@click.option("--show-thinking", is_flag=True, help="Show the reasoning (with -p: on stderr).")
@click.option("--url", help="Use a server that is already running, yours or a service.")
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the API key of that server.",
)
@click.option(
    "--own",
    is_flag=True,
    help="Start an engine of its own, even where a server of the same model runs.",
)
@click.option(
    "--resume",
    metavar="[ID]",
    is_flag=False,
    flag_value="latest",
    help="Resume a chat (the latest if no ID is given).",
)
def chat(**options: Any) -> int:
    """Chat with the model in the terminal, images included.

    With -p, or with text on stdin, it prints one answer to stdout and exits; text piped in along
    with -p is put before the prompt, so that several questions about it read it once.

    Every chat is saved, with -p as well. --resume continues one, in the terminal or with -p: the
    earlier turns are sent along, and the new one is added to them.

    Where `steprun serve` or another chat runs here with the same model, the chat joins it instead
    of starting a second engine.
    """
    prompt = read_prompt(options.pop("prompt"))
    images = _images(options.pop("images"))
    demo = options.pop("demo")
    request = take_request(options, demo=demo)
    _check(prompt, images)
    if demo and not images and options["resume"] is None and request.ask.see:
        images = _example(request)
    resume = ""
    if options["resume"] is not None:  # an unknown ID is refused at once
        from runner.chat.sessions.store import find_session

        resume = find_session(options["resume"])
    answer = Options(
        effort=options["effort"],
        max_tokens=options["max_tokens"],
        temperature=options["temperature"],
    )
    common = {"pictures": images, "show_thinking": options["show_thinking"], "resume": resume}
    if options["url"] is not None:  # of an empty variable: not a chat with an engine of ours
        endpoint = _endpoint(options["url"], options["api_key_file"])
        find = partial(_remote, endpoint, request.model, answer, common)
        if prompt is None:
            setup = _not_asked_yet(endpoint, request.model, answer, common, find)
        else:
            setup = asyncio.run(find(None))
    else:
        command: Command = "chat" if prompt is None else "chat -p"
        setup = _here(request, answer, common, command=command, own=options["own"])
    if prompt is None:
        return _run_tui(setup)
    from runner.cli.one_answer import ask_once

    return asyncio.run(ask_once(setup, prompt))


def _images(given: tuple[Path, ...]) -> tuple[Path, ...]:
    """Read each path as one that is dropped into the chat: a file:// address, with quotes."""
    if not given:
        return ()
    from runner.tui.paste import find_pictures

    return tuple(Path(path) for each in given for path in find_pictures(str(each)) or [str(each)])


def _example(request: ModelRequest) -> tuple[Path, ...]:
    """Return the picture that a demo brings along, if it sees."""
    from runner.catalog.models_toml import load_catalog

    picture = load_catalog().model(request.model).picture
    return (Path(picture),) if picture else ()


def _check(prompt: str | None, images: tuple[Path, ...]) -> None:
    """Refuse what cannot work, before anything is planned or downloaded for it."""
    if prompt is not None and not prompt.strip() and not images:
        raise UsageError(
            "The prompt is empty.",
            why="Neither -p nor stdin has any text, and there is no --image.",
            next='steprun chat -p "Your question"',
        )
    if prompt is None and not sys.stdout.isatty():
        raise UsageError(
            "The chat needs a terminal.",
            why="Its output is not a terminal.",
            next='For one answer: steprun chat -p "Your question"',
        )
    if prompt is None and os.environ.get("TERM") == "dumb":
        raise UsageError(
            "The chat needs a terminal that can move its cursor.",
            why="TERM is dumb.",
            next='For one answer: steprun chat -p "Your question"',
        )


def _blind(images: tuple[Path, ...], why: str) -> None:
    if images:
        raise UsageError(
            "This model cannot see images.",
            why=why,
            next="Leave --image out, or choose a model with a vision encoder: steprun models",
        )


def _here(
    request: ModelRequest,
    answer: Options,
    common: dict[str, Any],
    *,
    command: "Command",
    own: bool,
) -> ChatSetup:
    """Return a chat with a server of this machine, or else with an engine of its own."""
    from runner.run.prepare import make_plan

    if not own and (setup := _joined(request, answer, common, say_why=True)):
        return setup
    prepared = make_plan(request, to_run=True)
    # A server that was started at the same moment as this chat is known by now.
    setup = None if own else _joined(request, answer, common, say_why=False)
    return setup or _local(request, prepared, answer, common, command)


def _wait_for_starting(request: ModelRequest) -> None:
    """Wait while a server of the same model starts: what it serves is known once it listens."""
    from runner.engine.process import servers

    announced = False
    while found := servers.starting():
        from runner.run.joining import asked_of

        asked = asked_of(request)
        same = [each for each in found if (each.source, each.extras) == asked]
        if not same:
            return
        if not announced:
            alone = shell_line(("steprun", "chat", *_words(request), "--own"))
            say(
                "Waiting for the server of this model that is being started (process "
                f"{same[0].pid}). To chat without it: {alone}",
                err=True,
            )
            announced = True
        time.sleep(_POLL_S)


def _local(
    request: ModelRequest,
    prepared: "Prepared",
    answer: Options,
    common: dict[str, Any],
    command: "Command",
) -> ChatSetup:
    """Download what is missing, and set up a chat with an engine of our own."""
    from runner.cli.terminal import make_ready
    from runner.engine.process.supervisor import EngineProcess
    from runner.gateway.model_settings import with_files, with_model
    from runner.gateway.own_host import OwnHost
    from runner.gateway.settings import Settings
    from runner.run.prepare import engine_notice

    plan = prepared.plan
    blind_why = (
        "The profile is fast: speculative decoding (MTP), no images."
        if plan.config.mtp
        else f"{prepared.title} has no vision encoder (mmproj)."
    )
    if not plan.config.projector:
        _blind(common["pictures"], blind_why)
    # Who leaves a chat hangs up before, so that this is for the last bytes of a whole answer only.
    asked = Settings(drain_s=1, command=command)
    settings, spec = with_files(with_model(asked, prepared), make_ready(prepared), request)
    return ChatSetup(
        title=f"{prepared.title} {plan.variant.name}",
        open_host=lambda: OwnHost(settings, lambda: EngineProcess(prepared.engine.program, spec)),
        options=answer,
        context=plan.config.context,
        sees=plan.config.projector,
        blind_why=blind_why,
        prices=plan.model_spec.geometry.arch == "step35",
        greeting=as_typed(engine_notice(prepared)),
        hint=prepared.model.hint if prepared.model else "",
        words=plan.model_spec.words,
        **common,
    )


def _joined(
    request: ModelRequest, answer: Options, common: dict[str, Any], *, say_why: bool
) -> ChatSetup | None:
    """Return a chat with a server of this machine; None where none serves what is asked for.

    `say_why`: tell the user why those that run are not used.
    """
    from runner.engine.process import servers

    _wait_for_starting(request)
    found = servers.running()
    if not found:
        return None
    from runner.chat.dialect import LLAMA_SERVER
    from runner.gateway.asking import Joined, endpoint_of
    from runner.run.joining import why_not

    source = click.get_current_context().get_parameter_source("profile")
    typed = source is click.core.ParameterSource.COMMANDLINE
    reasons = []
    for record in found:
        if record.command == "chat -p":  # it ends with its answer, in the middle of another one
            continue
        served, pictures = record.served, bool(common["pictures"])
        what = f"{'chat' if record.command == 'chat' else 'server'} at {record.url}"
        if why := why_not(served, request, profile_typed=typed, pictures=pictures):
            reasons.append(f"The {what} is not used: {why}.")
            continue
        endpoint_of(record)  # a key that cannot be read is refused before the chat begins
        name = f"{served.title} {served.quant}".rstrip()
        return ChatSetup(
            title=name,
            open_host=partial(Joined, record, _words(request)),
            options=replace(answer, model=served.model, dialect=LLAMA_SERVER),
            context=served.context,
            sees=served.sees,
            blind_why=f"The {what} was started without a vision encoder (mmproj).",
            prices=served.architecture == "step35",
            own=False,
            greeting=as_typed(f"Joined the {what} ({name})."),
            words=_words(request),
            **common,
        )
    for reason in reasons if say_why else ():
        say(reason, err=True)
    return None


def _words(request: ModelRequest) -> tuple[str, ...]:
    """Return the options that name a model, to be typed again."""
    if request.model == "demo":
        return ("--demo",)
    named = (("--model", request.model), ("--projector", request.projector), ("--mtp", request.mtp))
    return tuple(word for option, value in named if value for word in (option, value))


def _endpoint(url: str, key_file: Path | None) -> Endpoint:
    from runner.net.keys import key_for

    found = server_address(url)
    if found is None:
        raise UsageError(
            f"{re.sub(r'//[^/@]*@', '//***@', url)!r} is not the address of a server.",
            why="An address is a scheme, a host and a port.",
            next="Such as: --url http://127.0.0.1:8080",
        )
    base, login = found
    key, note = key_for(base, os.environ)
    if key_file or login:
        key = ""
    if key_file:
        from runner.engine.process.supervisor import read_key  # brings httpx2

        key = read_key(key_file)
    return Endpoint(base, api_key=key, login=login, key_note=note)


def _not_asked_yet(
    endpoint: Endpoint, model: str, answer: Options, common: dict[str, Any], find: "Find"
) -> ChatSetup:
    """Return the setup of a chat with a server of which nothing is known but its address."""
    return ChatSetup(
        title=f"{model or 'a model'} at {endpoint.base_url}",
        open_host=lambda: Remote(endpoint),
        options=answer,
        sees=True,
        prices=False,
        own=False,
        greeting=endpoint.warning,
        words=("--url", endpoint.base_url, *(("--model", model) if model else ())),
        find=find,
        **common,
    )


async def _remote(
    endpoint: Endpoint,
    model: str,
    answer: Options,
    common: dict[str, Any],
    on_wait: "Callable[[float], None] | None",
) -> ChatSetup:
    """Ask a server what it is, and set up a chat with it.

    `on_wait`: hears for how long a busy server has been waited for; None: not for long.
    """
    client = await asyncio.to_thread(import_module, "runner.chat.client")  # the window stays alive
    from runner.chat.dialect import chosen, is_step, recognised

    ask = client.identify(endpoint) if on_wait is None else client.wait_for(endpoint, on_wait)
    reported, offers = await ask
    asked, offer = model, chosen(offers, model)
    model = offer.name
    modalities = reported.get("modalities")
    # Only llama-server reports whether it sees; with others a request will show it.
    sees = bool(modalities.get("vision")) if isinstance(modalities, dict) else True
    blind_why = "The server reports no vision encoder (mmproj) for its model."
    if not sees and on_wait is None:  # an open window says so itself
        _blind(common["pictures"], blind_why)
    defaults = reported.get("default_generation_settings")
    context = defaults.get("n_ctx") if isinstance(defaults, dict) else None
    find = partial(_remote, endpoint, asked, answer, common)
    return replace(
        _not_asked_yet(endpoint, asked, answer, common, find),
        title=f"{clean_name(model) if model else 'a model'} at {endpoint.base_url}",
        options=replace(answer, model=model, dialect=recognised(reported, offers)),
        context=context if isinstance(context, int) else offer.context,
        sees=sees,
        blind_why=blind_why,
        prices=is_step(model, reported),
    )


def _run_tui(setup: ChatSetup) -> int:
    """Run the chat; afterwards print, below it, why it ended and how to resume it."""
    from runner.tui.app import ChatApp

    app = ChatApp(setup)
    app.run()
    for line in app.farewell:
        say(line, err=True)
    if app.failure is not None:
        raise app.failure
    return app.return_code or Exit.DONE
