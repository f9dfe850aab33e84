"""Lets the parts of a gateway follow the ladder: what is served, and what has happened."""

import asyncio
import time
from dataclasses import replace
from datetime import datetime
from typing import Final

from runner.gateway.engine.lowering import Lowering, stamp
from runner.gateway.engine.rungs import ServedRung
from runner.gateway.service import Service
from runner.gateway.settings import Settings
from runner.gateway.watching.events import MemoryEvent
from runner.gateway.watching.recorded import Recorded

_UNREADABLE: Final = (
    "Conversations are read again: what was saved of them cannot be read with these settings."
)


def follow(lowering: Lowering, service: Service, recorded: Recorded) -> None:
    """Have a gateway serve what its engine is started for from now on, and note each event."""
    planned = lowering.rung.settings

    async def change(rung: ServedRung) -> str:
        since = lowering.lowered.since if lowering.lowered is not None else 0.0
        settings = replace(
            rung.settings,
            host=planned.host,
            port=planned.port,
            key_file=planned.key_file,
            less_because=_because(planned, rung.settings, since),
        )
        same = await service.change(settings)
        await asyncio.to_thread(recorded.change, settings)
        # What was saved before can be read again as planned.
        return "" if same or not lowering.number else _UNREADABLE

    def note(event: str, words: str) -> None:
        service.observer.happened(
            MemoryEvent(
                time=stamp(time.time()),
                event=event,
                rung=lowering.number,
                of=lowering.last,
                words=words,
            )
        )

    service.observer.status.lowering = lowering
    lowering.on_change, lowering.on_event = change, note


def _because(planned: Settings, now: Settings, since: float) -> str:
    """Return why there is less than planned, for clients; it names none of the other programs."""
    if not since or (now.context >= planned.context and now.sees == planned.sees):
        return ""
    when = f"{datetime.fromtimestamp(since):%H:%M}"  # noqa: DTZ006 - of this machine, for people
    return f"Memory ran short at {when}, and this was given up until there is enough again."
