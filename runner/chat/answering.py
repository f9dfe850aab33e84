"""Asks the server, fills a turn with its answer, and saves both. No widgets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from runner.base.errors import SteprunError
from runner.chat.client import stream
from runner.chat.conversation import Conversation
from runner.chat.events import Event, Failed
from runner.chat.host import ChatHost, reason_of
from runner.chat.turn import Turn
from runner.chat.wire import Options

T = TypeVar("T")
STEP_S = 0.02  # of the processor's time for events that came at once; then keys have their turn,
PAUSE_S = 0.01  # as long as it takes to show one


async def answer(
    conversation: Conversation,
    turn: Turn,
    host: ChatHost | None,
    options: Options,
    *,
    again: bool = False,
    on_event: Callable[[Event], None] = lambda _: None,
) -> None:
    """Ask the conversation's last turn and save the answer, or as much of it as arrived.

    The question is saved before it is sent; where `host` is None (it has closed), that is all. A
    server's error, or the death of our engine behind it, ends up in `turn.error`. Cancelling, or
    a reader of the output that has gone, closes the connection and leaves the turn stopped. Any
    other exception, `on_event`'s included, marks the turn as failed and is raised.
    """
    try:
        messages = await _to_the_end(
            asyncio.to_thread(conversation.save_question, turn, again=again)
        )
        if host is not None:
            chat = conversation.session.id
            await _fill(turn, host, stream(host.endpoint, messages, options, chat=chat), on_event)
    except BrokenPipeError:
        raise
    except Exception as error:
        bug = SteprunError("steprun failed while receiving the answer.", why=f"{error!r}.")
        turn.apply(Failed(bug), time.monotonic())
        raise
    finally:
        turn.stop()  # unless it is over
        conversation.save_answer(turn)


async def _fill(
    turn: Turn,
    host: ChatHost,
    answering: AsyncGenerator[Event, None],
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
            turn.apply(event, time.monotonic())
            on_event(event)


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Wait for work in a thread; a cancelled waiter still waits until it is done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
