"""`steprun chat`: the TUI, or with `-p` (or text on stdin) one answer to stdout."""

import asyncio
import os
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import click

from runner.commands.options import ModelRequest, model_options, take_request
from runner.endpoint import Endpoint
from runner.errors import Exit, UsageError
from runner.talk.host import ChatSetup, Host, Remote
from runner.talk.wire import EFFORTS, Options

STDIN_S = 3.0  # for the first byte beside -p; whoever pipes a file in needs milliseconds
STDIN_BYTES = 16 << 20  # sixteen times what 262,144 tokens of context can hold of English


@click.command()
@click.option("-p", "--prompt", help="Ask this, print the answer, and end.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A picture to send along (may be repeated).",
)
@click.option("--demo", is_flag=True, help="A small model instead: 93 MB, runs anywhere.")
@model_options
@click.option("--effort", type=click.Choice(EFFORTS), help="How long to think.")
@click.option(
    "--max-tokens", type=click.IntRange(min=1), help="The longest answer, thinking included."
)
@click.option("--temperature", type=click.FloatRange(0, 5), help="0 for always the same answer.")
@click.option("--show-thinking", is_flag=True, help="Show the thinking (with -p: on stderr).")
@click.option("--engine", default="embedded", show_default=True, help="Which engine runs it.")
@click.option("--url", help="Talk to a server that runs already.")
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The key of that server.",
)
@click.option(
    "--resume", metavar="ID", is_flag=False, flag_value="latest", help="Go on with an earlier chat."
)
def chat(**options: Any) -> int:
    """Talk to the model, in the terminal, with pictures.

    With -p, or with text on stdin, it answers once on stdout and ends.
    """
    prompt = _prompt(options.pop("prompt"))
    images: tuple[Path, ...] = options.pop("images")
    request = take_request(options, demo=options.pop("demo"))
    _check_engine(options["engine"])
    answer = Options(
        effort=options["effort"],
        max_tokens=options["max_tokens"],
        temperature=options["temperature"],
    )
    setup = _setup(request, answer, images, options)
    if prompt is not None:
        from runner.commands.ask import ask_once

        if not prompt.strip() and not images:
            raise UsageError("There is nothing to ask.", next='steprun chat -p "Your question"')
        return asyncio.run(ask_once(setup, prompt))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "The chat needs a terminal.",
            why="Input or output is not one.",
            next='For one answer: steprun chat -p "Your question"',
        )
    return _run_tui(setup)


def _run_tui(setup: ChatSetup) -> int:
    """Run the chat; afterwards say, below it, why it ended and how to go on."""
    from runner.tui.app import ChatApp

    app = ChatApp(setup)
    app.run()
    for line in app.farewell:
        click.echo(line, err=True)
    if app.failure is not None:
        raise app.failure
    return app.return_code or Exit.DONE


def _prompt(given: str | None) -> str | None:
    """Return what to ask, or None for the TUI. Text that is piped in comes after that of -p."""
    if sys.stdin is None or sys.stdin.isatty():
        return given
    if given is None:
        return _decoded(sys.stdin.buffer.read(STDIN_BYTES + 1))
    piped = _decoded(_piped()).strip()
    return f"{given}\n\n{piped}" if piped else given


def _piped() -> bytes:
    """Return what a pipe or a file on stdin holds; nothing where nobody writes to it.

    A program that starts us may leave a pipe open and never write: that must not hang.
    """
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return b""
    descriptor = sys.stdin.fileno()
    chunks: list[bytes] = []
    begun = threading.Event()

    def read() -> None:
        # Past Python's own buffer: its lock would be held at exit by a thread that waits forever.
        left = STDIN_BYTES + 1
        while left > 0 and (chunk := os.read(descriptor, min(left, 1 << 16))):
            chunks.append(chunk)
            left -= len(chunk)
            begun.set()
        begun.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    if not begun.wait(STDIN_S):
        click.echo(f"Nothing came on stdin in {STDIN_S:.0f} s: going on without it.", err=True)
        return b""
    reader.join()
    return b"".join(chunks)


def _decoded(data: bytes) -> str:
    if len(data) > STDIN_BYTES:
        raise UsageError(
            "The text on stdin is too long.",
            why=f"More than {STDIN_BYTES >> 20} MiB cannot fit any context.",
            next="Send a part of it",
        )
    return data.decode("utf-8", "replace")


def _check_engine(name: str) -> None:
    if name != "embedded":
        raise UsageError(
            f"There is no engine {name!r}.",
            why="This version has one engine: embedded.",
            next="Leave --engine out",
        )


def _setup(
    request: ModelRequest, answer: Options, images: tuple[Path, ...], options: dict[str, Any]
) -> ChatSetup:
    common = {
        "pictures": images,
        "show_thinking": options["show_thinking"],
        "resume": options["resume"] or "",
    }
    if options["url"]:
        endpoint = _remote_endpoint(options["url"], options["api_key_file"])
        return ChatSetup(
            title=endpoint.base_url,
            open_host=lambda: Remote(endpoint),
            options=answer,
            sees=True,  # nobody can know before asking; the server will say
            prices=False,
            **common,
        )
    from runner.commands.prepare import EMBEDDED, backend_notice, make_plan, ready_spec
    from runner.engine.supervisor import Engine

    prepared = make_plan(request, to_run=True)
    spec = ready_spec(prepared)
    plan = prepared.plan
    open_host: Callable[[], AbstractAsyncContextManager[Host]] = lambda: Engine(EMBEDDED, spec)  # noqa: E731
    return ChatSetup(
        title=f"{prepared.title} {plan.variant.name}",
        open_host=open_host,
        options=answer,
        context=plan.config.context,
        sees=plan.config.projector,
        blind_why=(
            "The profile is fast: draft heads instead of pictures."
            if plan.config.mtp
            else f"{prepared.title} has no projector: it cannot see."
        ),
        prices=plan.subject.geometry.arch == "step35",
        greeting=backend_notice(plan.machine),
        **common,
    )


def _remote_endpoint(url: str, key_file: Path | None) -> Endpoint:
    from runner.engine.supervisor import read_key

    url = url if "://" in url else f"http://{url}"
    base = url.rstrip("/").removesuffix("/v1")
    return Endpoint(base, api_key=read_key(key_file) if key_file else "")
