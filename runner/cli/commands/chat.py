"""`steprun chat`: the TUI, the same in plain lines, or with `-p` (or text on stdin) one answer."""

import asyncio
import contextlib
import gc
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.base.errors import Exit, SteprunError, UsageError
from runner.chat.host import ChatSetup
from runner.chat.wire import EFFORTS, Options
from runner.cli.lazy import examples
from runner.cli.options import demo_option, kv_disk_option, model_options, take_request
from runner.cli.render.common import is_dumb, only_print
from runner.cli.render.wrap import say
from runner.cli.stdin import read_prompt
from runner.run.request import ModelRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.engine.process.servers import Command


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
    help="An image to send: PNG, JPEG, WebP, AVIF, HEIC, TIFF, BMP or GIF (repeatable).",
)
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A text file, a folder or a PDF to send (repeatable); notes.txt#1-40 sends these lines, "
    "report.pdf#2-4 pages as pictures.",
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
@click.option(
    "--max-thinking",
    type=click.IntRange(min=0, max=10**9 - 1),
    help="Maximum reasoning in tokens, 0 for none; the answer follows.",
)
@click.option("--show-thinking", is_flag=True, help="Show the reasoning (with -p: on stderr).")
@click.option(
    "--plain",
    is_flag=True,
    help="Chat in lines of plain text: for screen readers, slow connections and logs.",
)
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
    metavar="[ID|TITLE]",
    is_flag=False,
    flag_value="latest",
    help="Resume a chat by its ID or by words in its title (the latest if none is given).",
)
@click.option(
    "--open",
    "opened",
    metavar="FILE",
    help="Open a chat that /save wrote as .json, or that llama-server's web page exported.",
)
@click.option(
    "--mcp",
    multiple=True,
    metavar="NAME",
    help="Start with this MCP server of mcp.toml on (repeatable); with -p it runs only what you "
    "have always allowed.",
)
def chat(**options: Any) -> int:
    """Chat with the model in the terminal, images included.

    With -p, or with text on stdin, it prints one answer to stdout and exits; text piped in along
    with -p is put before the prompt, so that several questions about it read it once.

    Every chat is saved, with -p as well. --resume continues one, in the terminal or with -p: the
    earlier turns are sent along, and the new one is added to them.

    Where `steprun serve` or another chat runs here with the same model, the chat joins it instead
    of starting a second engine.

    --plain is the same chat in lines of plain text, without colors, and without moving the cursor.
    It is chosen by itself on a terminal that can only print (TERM=dumb). Of a pipe, each line is
    a message then.
    """
    given: str | None = options.pop("prompt")
    plain = _is_plain(given, asked=options.pop("plain"))
    prompt = given if plain else read_prompt(given)
    images = _images(options.pop("images"))
    files: tuple[Path, ...] = options.pop("files")
    demo = options.pop("demo")
    request = take_request(options, demo=demo)
    _check(prompt, (*images, *files), plain=plain)
    mcp = _servers(options.pop("mcp"))
    another = (options["resume"], options["opened"]) != (None, None)
    if demo and not images and not files and not another and request.ask.see:
        images = _example(request)
    resume: str = options["resume"] or ""
    made = ""
    if (file := options["opened"]) is not None:
        resume = made = _open(file, resume)
    if resume:  # an unknown ID is refused at once
        from runner.chat.sessions.resuming import chat_meant

        resume = chat_meant(resume)
    answer = Options(
        effort=options["effort"],
        max_tokens=options["max_tokens"],
        temperature=options["temperature"],
        thinking_cap=options["max_thinking"],
    )
    common = {
        "pictures": images,
        "files": files,
        "show_thinking": options["show_thinking"],
        "resume": resume,
        "mcp": mcp,
    }
    if options["url"] is not None:  # of an empty variable: not a chat with an engine of ours
        from runner.cli import remote_chat

        endpoint = remote_chat.endpoint_of(options["url"], options["api_key_file"])
        find = partial(remote_chat.ask_server, endpoint, request.model, answer, common)
        if prompt is None:
            setup = remote_chat.not_asked_yet(endpoint, request.model, answer, common, find)
            return _run_plain(setup) if plain else _run_tui(setup)
        with _unless_found(made):
            setup = asyncio.run(find(None))
        return _ask_once(setup, prompt)
    from runner.cli import chat_here

    command: Command = "chat" if prompt is None else "chat -p"
    source = click.get_current_context().get_parameter_source("profile")
    typed = source is click.core.ParameterSource.COMMANDLINE
    asked = chat_here.AskedChat(request, answer, common, command, options["own"], typed)
    if prompt is not None or plain:
        with _unless_found(made):
            setup = chat_here.find(asked)
        return _run_plain(setup) if prompt is None else _ask_once(setup, prompt)
    return _run_tui(chat_here.not_found_yet(asked), partial(chat_here.find, asked))


def _open(file: str, resume: str) -> str:
    """Save the chat of a file as a new one; return its ID."""
    if resume:
        raise UsageError(
            "--open and --resume name two chats.", next=f"Name one: steprun chat --open {file}"
        )
    from runner.chat.sessions.importing import import_chat

    made, lost = import_chat(file)
    for line in lost:
        say(line, err=True)
    return made


@contextlib.contextmanager
def _unless_found(made: str) -> "Iterator[None]":
    """Delete the chat that was made of a file if no engine is found for it: it was not used yet."""
    try:
        yield
    except BaseException:
        if made:
            from runner.chat.sessions.deleting import delete_chat

            with contextlib.suppress(SteprunError):
                delete_chat(made)
        raise


def _is_plain(prompt: str | None, *, asked: bool) -> bool:
    """Whether to chat in plain lines; on a terminal that can do no more it says so."""
    if prompt is not None:
        if asked:
            raise UsageError(
                "--plain is for a chat, and -p asks once.",
                why="An answer to -p is plain text anyhow.",
                next="Leave one of them out.",
            )
        return False
    if not asked and is_dumb() and sys.stdin is not None and sys.stdin.isatty():
        say("This terminal can only print (TERM is dumb): a chat in plain lines (--plain).")
        asked = True
    if asked:
        only_print()
    return asked


def _run_plain(setup: ChatSetup) -> int:
    from runner.tui.plain.chat import run_plain

    return run_plain(setup)


def _ask_once(setup: ChatSetup, prompt: str) -> int:
    from runner.cli.one_answer import ask_once

    return asyncio.run(ask_once(setup, prompt))


def _images(given: tuple[Path, ...]) -> tuple[Path, ...]:
    """Read each path as one that is dropped into the chat: a file:// address, with quotes."""
    if not given:
        return ()
    from runner.tui.paste import find_pictures

    return tuple(Path(path) for each in given for path in find_pictures(str(each)) or [str(each)])


def _servers(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the MCP servers to begin with. Raises where one is not configured."""
    if not names:
        return ()
    from runner.base.errors import find
    from runner.chat.tools.mcp.config import config_path, read_servers

    servers = read_servers()
    if not servers:
        raise UsageError(
            "No MCP server is configured.",
            why=f"There is none in {config_path()}.",
            next="In the chat, /mcp shows how to add one: steprun chat",
        )
    for name in names:
        find("MCP server", name, {each: each for each in servers}, see=f"cat {config_path()}")
    return names


def _example(request: ModelRequest) -> tuple[Path, ...]:
    """Return the picture that a demo brings along, if it sees."""
    from runner.catalog.models_toml import load_catalog

    picture = load_catalog().model(request.model).picture
    return (Path(picture),) if picture else ()


def _check(prompt: str | None, attached: tuple[Path, ...], *, plain: bool) -> None:
    """Refuse what cannot work, before anything is planned or downloaded for it."""
    if prompt is not None and not prompt.strip() and not attached:
        raise UsageError(
            "The prompt is empty.",
            why="Neither -p nor stdin has any text, and there is no --image and no --file.",
            next='steprun chat -p "Your question"',
        )
    if prompt is None and not plain and not sys.stdout.isatty():
        raise UsageError(
            "The chat needs a terminal.",
            why="Its output is not a terminal.",
            next='For one answer: steprun chat -p "Your question"; in lines: steprun chat --plain',
        )


def _run_tui(setup: ChatSetup, here: "Callable[[], ChatSetup] | None" = None) -> int:
    """Run the chat; afterwards print, below it, why it ended and how to resume it.

    `here`: finds what the window has not found, where that takes a terminal: it asks, shows a
    download, or says at length why not.
    """
    # Most of the way to the first frame are imports, whose objects stay: to look among them for
    # garbage takes a tenth of that time. The chat turns it on again once it is painted.
    gc.disable()
    from runner.tui.app import ChatApp

    app = ChatApp(setup)
    app.run()
    gc.enable()
    if app.needs_terminal and here is not None:
        try:
            setup = here()
        except BaseException:
            _say_farewell(app.farewell)
            raise
        conversation, pictures = app.conversation, app.composer.pictures
        if conversation.saved:  # what was typed meanwhile is its draft
            setup = replace(setup, resume=conversation.session.id)
        if conversation.draft_path is not None and pictures:
            setup = replace(setup, pictures=())
        app = ChatApp(setup)
        app.run()
    _say_farewell(app.farewell)
    if app.failure is not None:
        raise app.failure
    return app.return_code or Exit.DONE


def _say_farewell(lines: tuple[str, ...]) -> None:
    for line in lines:
        say(line, err=True)
