"""Asks the server and fills a turn with what comes. No widgets."""

import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from typing import cast

from runner.chat.client import stream
from runner.chat.events import Event, Failed
from runner.chat.host import ChatHost, reason_of
from runner.chat.turn import Turn
from runner.chat.wire import Message, Options


async def fill(turn: Turn, host: ChatHost, messages: Sequence[Message], options: Options) -> None:
    """Stream the answer to `messages` into `turn`. Cancelling closes the connection.

    Where the engine died, the turn's error says what it died of.
    """
    events = cast("AsyncGenerator[Event]", stream(host.endpoint, messages, options))
    async with contextlib.aclosing(events):
        async for event in events:
            # Told only when it is known what became of the engine: /retry must know it too.
            if isinstance(event, Failed):
                event = Failed(await reason_of(host, event.error))  # noqa: PLW2901 - the same event
            turn.apply(event, time.monotonic())
