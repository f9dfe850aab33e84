"""One question, one answer: `steprun chat -p`. The answer goes to stdout, all else to stderr."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import click

from runner.base.beside import beside
from runner.base.errors import Exit, Refused, SteprunError
from runner.base.shell import as_typed, shell_line
from runner.base.text import clean
from runner.chat.answering import answer
from runner.chat.clock import AnswerClock
from runner.chat.conversation import Conversation
from runner.chat.events import (
    Event,
    Failed,
    Finished,
    PromptProgress,
    Reasoning,
    Text,
    ToolCall,
    Usage,
    WasReasoning,
)
from runner.chat.farewell import resume_command
from runner.chat.files.attached import PICTURES, Attachment, label, typed_again
from runner.chat.files.attaching import attach_all
from runner.chat.files.counting import why_too_long
from runner.chat.host import ChatHost, ChatSetup, follow
from runner.chat.host_news import hearing
from runner.chat.images.load import load_picture
from runner.chat.steps import StepKind, uses_of
from runner.chat.tools.mcp.permissions import Answer
from runner.chat.tools.mcp.switching import McpSwitches, end_of
from runner.chat.tools.shown import use_words
from runner.chat.tools.toolboxes import Toolboxes
from runner.chat.turn import TOOL_LIMITS, Turn, TurnState
from runner.cli.render.common import TransientLine
from runner.cli.render.loading import loading_words
from runner.cli.render.wrap import say
from runner.tui.offered import picture_tools
from runner.tui.settings import SettingsFile, as_remembered

if TYPE_CHECKING:
    from runner.chat.tools.mcp.box import AskedCall


async def ask_once(setup: ChatSetup, prompt: str) -> int:
    """Ask, print the answer as it arrives, save both, and return the exit code.

    With `setup.resume` the question continues that session, else it begins one. Raises what the
    session, the engine or the server refuses; what arrived until then is printed and saved.
    """
    limited = setup.options.thinking_cap is not None
    pictures = tuple(load_picture(path) for path in setup.pictures)
    attached = await attach_all(setup.files, sees=setup.sees, pictures=PICTURES - len(pictures))
    files = tuple(each.file for each in attached)
    pictures += tuple(picture for each in attached for picture in each.pictures)
    prompt = prompt if prompt.strip() else typed_again("", files)
    asked = _OneChat(setup)
    conversation, setup = asked.conversation, asked.setup
    try:
        _print_warnings(conversation, setup)
        if setup.greeting:
            say(setup.greeting, err=True)
        if limited and not setup.options.dialect.thinking_cap:
            say("This server takes no limit on thinking: --max-thinking has no effect.", err=True)
        for each in attached:
            if each.notes:
                say(" · ".join((label(each.file), *each.notes)), err=True)
        with asked.status as status:
            async with asked.servers_on(), setup.open_host() as host:

                def shows(seconds: float) -> None:
                    status.show(loading_words(setup.title, seconds, host.loaded()))

                await host.wait_ready(shows)
                await asked.servers_settled()
                await _check_fit(attached, conversation, host, setup)
                turn = conversation.append(prompt, pictures, files)
                turn.begin()
                clock = AnswerClock()
                unsure = not host.endpoint.owned and not sys.stdout.isatty()
                printer = _Printer(status, turn, show_thinking=setup.show_thinking, unsure=unsure)
                tells = partial(_show_waiting, status, turn, clock)

                def show(event: Event) -> None:
                    printer.show(event)
                    if isinstance(event, PromptProgress):
                        tells()

                try:
                    async with _following(host, shows), _each_second(tells):
                        await answer(
                            *(conversation, turn, host, setup.options),
                            clock=clock,
                            on_event=show,
                            tools=asked.tools,
                        )
                finally:
                    printer.end_line()
        if turn.error is not None:
            raise turn.error
        _print_end(turn, setup.context)
    finally:
        conversation.close()
        _print_warnings(conversation, setup)
        if sys.stderr.isatty() and conversation.saved:
            resume = as_typed(f"Resume with: {resume_command(conversation, setup.all_words)}")
            click.secho(resume, dim=True, err=True)
    return Exit.DONE


class _OneChat:
    """What the one question is asked in: with what is remembered, and the tools, as in the window.

    The prompt is the same in each, so that a chat which goes on in another is not read again.
    """

    def __init__(self, setup: ChatSetup) -> None:
        self.settings = SettingsFile()
        self.setup = as_remembered(setup, self.settings.now)
        self.conversation = Conversation(setup.title, setup.resume)
        self.conversation.warnings += filter(None, [self.settings.warning])
        self.status = TransientLine()
        self.tools = Toolboxes(picture_tools(self))
        self._servers = McpSwitches(self.tools, self._refuse, lambda: None)

    @asynccontextmanager
    async def servers_on(self) -> AsyncIterator[None]:
        """Within it, the MCP servers that were named are on. Raises for one that cannot be."""
        try:
            await self._servers.switch_on(self.setup.mcp)
            yield
        finally:
            await self._servers.close()

    async def servers_settled(self) -> None:
        """Wait until all of them offer their tools. Raises where one has ended instead."""
        if names := self._servers.starting:
            self.status.show(f"starting {', '.join(names)} ...")
        await self._servers.settled()
        for entry in self._servers.news():
            if str(entry.state) == "ended":
                raise end_of(entry, after="Correct that, or leave --mcp {} out.")

    async def _refuse(self, asked: "AskedCall") -> Answer:
        """Refuse a call that the user has not allowed for good: nobody is asked."""
        changed = "The tool describes itself otherwise than when you allowed it."
        allows = shell_line(("steprun", "chat", "--mcp", asked.server))
        error = Refused(
            f"{asked.offer.tool.name} was not run.",
            why=changed if asked.changed else "A call needs a permission, and -p asks nobody.",
            next=f"Allow it for good (a) in the chat: {allows}",
        )
        self.status.clear()
        say(str(error), err=True)
        return Answer.NOT_NOW


async def _check_fit(
    attached: Sequence[Attachment], conversation: Conversation, host: ChatHost, setup: ChatSetup
) -> None:
    """Refuse files that do not fit the context, as far as that is known."""
    if not attached or not setup.context:
        return
    free = setup.context - conversation.context_used()
    refusal = await why_too_long(
        *(attached, free, host.endpoint, setup.options.dialect), prices=setup.prices, typed=_option
    )
    if refusal is not None:
        raise refusal


def _option(name: str) -> str:
    return shell_line(("--file", name))


@asynccontextmanager
async def _following(host: ChatHost, on_wait: Callable[[float], None]) -> AsyncIterator[None]:
    """Within the block, show when a host has to be waited for again; the answer says if in vain."""
    async with (
        beside(follow(host, on_wait, lambda: None), "host"),
        hearing(host, lambda news: say(news.words, err=True)),
    ):
        yield


def _each_second(do: Callable[[], None]) -> AbstractAsyncContextManager[None]:
    """Within the block, do something once a second."""

    async def again() -> None:
        while True:
            await asyncio.sleep(1)
            do()

    return beside(again(), "each second")


def _show_waiting(status: TransientLine, turn: Turn, clock: AnswerClock) -> None:
    """Show what is waited for where no word of the answer comes."""
    if turn.phase in (TurnState.PREFILL, TurnState.CALLING):
        from runner.tui.status import turn_states

        status.show(turn_states(turn, clock, time.monotonic())[0])


class _Printer:
    """Prints an answer while it arrives, and in the status line what the model is doing.

    `unsure`: what looks like the answer may turn out to have been thinking, and cannot be taken
    back from a file or a pipe: it is held until that is known.
    """

    def __init__(
        self, status: TransientLine, turn: Turn, *, show_thinking: bool, unsure: bool = False
    ) -> None:
        self._turn = turn
        self._shown = 0  # of its steps
        self._unsure = unsure
        self._held: list[str] = []
        self._status = status
        self._show_thinking = show_thinking
        self._terminal = sys.stdout.isatty()
        self._thought = 0
        self._last = ""
        self._gap = False  # the model has called a tool since
        self._said = False  # the blank lines before an answer are not printed

    def show(self, event: Event) -> None:
        self._show_uses()
        match event:
            case ToolCall():
                self._called()
            case Text(text) if self._unsure:
                self._held.append(text)
                self._status.show(f"receiving ... {len(self._held)} tokens")
            case WasReasoning():
                self._was_reasoning()
            case Finished() | Failed():
                self.release()
            case Reasoning(text):
                self.release()
                self._thought += 1
                if self._show_thinking:
                    self._status.clear()
                    click.secho(clean(text), dim=True, nl=False, err=True)
                else:
                    self._status.show(f"thinking ... {self._thought} tokens")
            case Text(text):
                text = text if self._said else text.lstrip("\n")
                self._said = self._said or bool(text)
                if not self._last and self._show_thinking and self._thought:
                    click.echo(err=True)
                self._status.clear()
                if self._gap and text:
                    self._gap = False
                    self._write("\n" if self._last.endswith("\n") else "\n\n")
                self._write(clean(text) if self._terminal else text)

    def _write(self, text: str) -> None:
        self._last = text or self._last
        sys.stdout.write(text)
        sys.stdout.flush()

    def _called(self) -> None:
        """End the text before a call: it is not taken back, and what follows is apart from it."""
        self.release()
        if self._last and not self._gap:
            self._gap = True
            if self._terminal and not self._last.endswith("\n"):
                self._write("\n")

    def _show_uses(self) -> None:
        """Tell a person what was run, once it has returned."""
        steps = self._turn.steps
        if len(steps) == self._shown:
            return
        new = {id(step) for step in steps[self._shown :] if step.kind is StepKind.RESULT}
        self._shown = len(steps)
        if not new or not sys.stderr.isatty():
            return
        for use in uses_of(steps):
            if use.result is not None and id(use.result) in new:
                self._status.clear()
                click.secho(f"→ {use_words(use)}", dim=True, err=True)

    def release(self) -> None:
        """Print what was held: it is the answer."""
        self._unsure, held = False, "".join(self._held)
        self._held.clear()
        if held:
            self.show(Text(held))

    def _was_reasoning(self) -> None:
        """Take the text so far for what it was; on a terminal it stands there already."""
        if self._last:
            click.secho("\n(That was the reasoning. The answer:)", dim=True, err=True)
            self._last, self._said = "", False
        self._thought += len(self._held)
        if self._show_thinking and self._held:
            self._status.clear()
            click.secho(clean("".join(self._held)), dim=True, nl=False, err=True)
        self._held.clear()
        self._unsure = False

    def end_line(self) -> None:
        """Print what was held, and end the answer with a line feed unless it ended with one."""
        self._show_uses()
        self.release()
        if self._last and not self._last.endswith("\n"):
            sys.stdout.write("\n")
        sys.stdout.flush()


def _print_warnings(conversation: Conversation, setup: ChatSetup) -> None:
    """Say what is not saved or not loaded. A script that resumes nothing need not care."""
    if setup.resume or sys.stderr.isatty():
        for warning in conversation.warnings:
            say(warning, err=True)
    conversation.warnings.clear()


def _print_end(turn: Turn, context: int) -> None:
    """Say that the tokens ran out, or what the answer took; raise where the answer is missing."""
    usage = turn.usage or Usage()
    if turn.finish == "length" and not turn.answered and turn.thought_tokens:
        raise SteprunError(
            "No answer: the model was still thinking when it ran out of tokens.",
            why=f"All {usage.completion_tokens} tokens went into reasoning.",
            next="Allow more tokens, or less reasoning: --max-tokens N, --effort low",
        )
    if turn.finish == "length" and turn.answered:
        longer = "For a longer one: --max-tokens N, --ctx N"
        click.echo(f"The answer was cut off at the token limit. {longer}", err=True)
    elif turn.finish == "content_filter" and turn.answered:
        click.echo("The server's content filter cut the answer off.", err=True)
    elif turn.finish in TOOL_LIMITS and turn.answered:
        click.echo(TOOL_LIMITS[turn.finish], err=True)
    elif (missing := turn.missing(context)) is not None:
        raise missing
    if sys.stderr.isatty() and usage.decode_tps:
        words = f"Prompt: {usage.prompt_tokens:,} tokens."
        click.secho("\n".join(filter(None, (words, turn.reading()))), dim=True, err=True)
