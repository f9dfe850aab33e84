"""One question, one answer: `steprun chat -p`. The answer goes to stdout, all else to stderr."""

import sys

import click

from runner.base.errors import Exit, SteprunError
from runner.base.text import clean
from runner.chat.client import stream
from runner.chat.events import Failed, Finished, PromptProgress, Reasoning, Text, Usage
from runner.chat.host import ChatHost, ChatSetup, reason_of
from runner.chat.images.load import load_picture
from runner.chat.wire import Message
from runner.cli.render.common import TransientLine


async def ask_once(setup: ChatSetup, prompt: str) -> int:
    """Ask, print the answer as it comes, and return the exit code."""
    pictures = tuple(load_picture(path) for path in setup.pictures)
    message = Message("user", prompt, pictures)
    if setup.greeting:
        click.echo(setup.greeting, err=True)
    with TransientLine() as status:
        async with setup.open_host() as host:
            await host.wait_ready(lambda s: status.show(f"loading {setup.title} ... {s:.0f} s"))
            return await _print_answer(setup, host, message, status)


async def _print_answer(
    setup: ChatSetup, host: ChatHost, message: Message, status: TransientLine
) -> int:
    thought = said = 0
    usage = Usage()
    last = ""
    terminal = sys.stdout.isatty()
    async for event in stream(host.endpoint, [message], setup.options):
        match event:
            case PromptProgress(done, total) if total:
                status.show(f"reading the prompt: {done / total:.0%} of {total:,} tokens")
            case Reasoning(text):
                thought += 1
                if setup.show_thinking:
                    status.clear()
                    click.secho(clean(text), dim=True, nl=False, err=True)
                else:
                    status.show(f"thinking ... {thought} tokens")
            case Text(text):
                if not said and setup.show_thinking and thought:
                    click.echo(err=True)
                status.clear()
                said += 1
                last = clean(text) if terminal else text
                sys.stdout.write(last)
                sys.stdout.flush()
            case Usage():
                usage = event
            case Failed(error):
                _end_line(last)
                raise await reason_of(host, error)
            case Finished(reason):
                _end_line(last)
                _how_it_ended(reason, usage, thought, said)
    if sys.stderr.isatty() and usage.decode_tps:
        click.secho(
            f"{usage.completion_tokens} tokens at {usage.decode_tps:.1f} a second; "
            f"the prompt took {usage.prompt_tokens}",
            dim=True,
            err=True,
        )
    return Exit.DONE


def _end_line(last: str) -> None:
    """End the answer with a line feed, unless it ended with one."""
    if last and not last.endswith("\n"):
        sys.stdout.write("\n")
    sys.stdout.flush()


def _how_it_ended(reason: str, usage: Usage, thought: int, said: int) -> None:
    """Say that the tokens ran out, or that there was no answer; raise where both are so."""
    if reason == "stop" and thought and not said:
        click.echo("There was thinking, and no answer after it: --show-thinking", err=True)
    if reason != "length":
        return
    if said:
        click.echo("The answer was cut at its limit of tokens: --max-tokens, --ctx", err=True)
        return
    raise SteprunError(
        "There is no answer: the model was still thinking when its tokens ran out.",
        why=f"All {usage.completion_tokens} tokens went into thinking.",
        next="Allow more, or less thinking: --max-tokens N, --effort low",
    )
