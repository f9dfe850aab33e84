"""Asks the server and fills a turn with what comes. No widgets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from typing import cast

from runner.errors import Refused, UsageError
from runner.talk.client import stream
from runner.talk.events import Event, Failed
from runner.talk.host import Host
from runner.talk.wire import Message, Options
from runner.tui.model import Turn

# A dying engine closes its connections a moment before its guard sees it end.
DEATH_S = 0.5
POLL_S = 0.05


async def fill(turn: Turn, host: Host, messages: Sequence[Message], options: Options) -> None:
    """Stream the answer to `messages` into `turn`. Cancelling closes the connection.

    Where the engine died, the turn's error says what it died of.
    """
    events = cast("AsyncGenerator[Event]", stream(host.endpoint, messages, options))
    async with contextlib.aclosing(events):
        async for event in events:
            # Told only when it is known what became of the engine: /retry must know it too.
            told = await _diagnosed(event, host) if isinstance(event, Failed) else event
            turn.apply(told, time.monotonic())


async def _diagnosed(failed: Failed, host: Host) -> Failed:
    """Return the failure, or what the engine died of where it did."""
    if isinstance(failed.error, Refused | UsageError):
        return failed
    if host.endpoint.owned:
        await _settle(host)
    if host.alive():
        return failed
    return Failed(await asyncio.to_thread(host.verdict))


async def _settle(host: Host) -> None:
    """Wait a moment for an engine that is about to be found dead."""
    deadline = time.monotonic() + DEATH_S
    while host.alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(POLL_S)
