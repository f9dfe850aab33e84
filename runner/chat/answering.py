"""Asks the server, fills a turn with its answer, and saves both. No widgets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from importlib import import_module
from typing import Final

from runner.base.errors import SteprunError
from runner.chat.clock import AnswerClock
from runner.chat.conversation import Conversation
from runner.chat.events import Event, Failed, Usage
from runner.chat.host import ChatHost, reason_of
from runner.chat.tool_rounds import ToolRounds
from runner.chat.tools.toolboxes import Toolboxes
from runner.chat.turn import Turn
from runner.chat.wire import Options

SAVE_S: Final = 0.4  # "no word is lost that arrived more than a second before", disk included
STEP_S: Final = 0.02  # of the processor's time for events that came at once; then keys have
PAUSE_S: Final = 0.01  # their turn, as long as it takes to show one


async def answer(
    conversation: Conversation,
    turn: Turn,
    host: ChatHost | None,
    options: Options,
    *,
    clock: AnswerClock | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
    tools: Toolboxes | None = None,
    ready: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Ask the conversation's last turn and save the answer, or as much of it as arrived.

    Where it calls `tools`, these are run and it is asked again, until it answers (`tool_rounds`).
    `ready` is awaited between the saving of the question and the asking: for tools that are about
    to be there.

    The question is saved before it is sent, and the answer while it grows; where `host` is None (it
    has closed), that is all. `clock` is told when what happens. A server's error, or the death of
    our engine behind it, ends up in `turn.error`. Cancelling, or a reader of the output that has
    gone, closes the connection and leaves the turn stopped. Any other exception, `on_event`'s
    included, marks the turn as failed and is raised.
    """
    clock = clock or AnswerClock()
    clock.ask(time.monotonic())
    messages = conversation.asked(turn)
    growing = asyncio.create_task(_save_often(conversation, turn))
    try:
        await _saved(conversation)
        if host is not None:
            if ready is not None:
                await ready()
                clock.ask(time.monotonic())
            # With the HTTP library it takes long to import: not before the window is painted.
            client = await asyncio.to_thread(import_module, "runner.chat.client")
            chat, rounds = conversation.session.id, ToolRounds(turn, tools)
            while True:
                asking = rounds.options(_of_turn(conversation, turn, options))
                events = client.stream(host.endpoint, messages, asking, chat=chat, clock=clock)
                async with contextlib.aclosing(events):
                    await _fill(turn, host, rounds.watch(events), clock, on_event)
                if not rounds.go_on:
                    break
                await rounds.run(messages)
                messages = conversation.messages()
                turn.go_on()
                clock.ask_again(time.monotonic())
    except BrokenPipeError:
        raise
    except Exception as error:
        bug = SteprunError("steprun failed while receiving the answer.", why=f"{error!r}.")
        turn.apply(Failed(bug), time.monotonic())
        raise
    finally:
        growing.cancel()
        turn.stop()  # unless it is over
        conversation.ended(turn)
        await _saved(conversation)


def _of_turn(conversation: Conversation, turn: Turn, options: Options) -> Options:
    """Return the options with what this chat and this turn say themselves."""
    own = conversation.chosen.temperature
    return replace(
        options,
        prefill=turn.prefill(),
        effort=turn.effort or options.effort,
        temperature=options.temperature if own is None else own,
    )


async def _save_often(conversation: Conversation, turn: Turn) -> None:
    """Save what of an answer has arrived, so that the end of the program costs a moment of it."""
    while True:
        await asyncio.sleep(SAVE_S)
        if turn.grew:
            conversation.growing(turn)
            await asyncio.to_thread(conversation.flush)


async def _saved(conversation: Conversation) -> None:
    """Write what is due, in a thread; a cancelled waiter still waits until it is done."""
    task = asyncio.ensure_future(asyncio.to_thread(conversation.flush))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _fill(
    turn: Turn,
    host: ChatHost,
    answering: AsyncGenerator[Event, None],
    clock: AnswerClock,
    on_event: Callable[[Event], None],
) -> None:
    """Stream the answer into `turn`; `on_event` gets each event after that."""
    async with contextlib.aclosing(answering) as events:
        pause = time.thread_time() + STEP_S
        async for event in events:
            if time.thread_time() > pause:  # very many came at once: others have a turn, too
                await asyncio.sleep(PAUSE_S)
                pause = time.thread_time() + STEP_S
            # Reported only when it is known what became of the engine: /retry must know it too.
            if isinstance(event, Failed):
                event = Failed(await reason_of(host, event.error))  # noqa: PLW2901 - the same event
            now = time.monotonic()
            clock.apply(event, now)
            if isinstance(event, Usage):
                event = replace(event, first_token_s=clock.first_token_s)  # noqa: PLW2901 - the same
            turn.apply(event, now)
            on_event(event)
