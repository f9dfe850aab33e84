"""Asks a gateway now and then what memory does to its engine, for whoever chats with it."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from runner.base.text import clean
from runner.base.units import size
from runner.chat.host_news import HostNews
from runner.chat.untrusted import integer, mapping
from runner.net.endpoint import Endpoint

LOOK_S: Final = 3.0  # a look costs a millisecond; a wait for memory lasts some seconds at least
ANSWER_S: Final = 5.0
_LONGEST: Final = 600  # characters
_HEALTH: Final = "/health"
_STATUS: Final = "/steprun/status"

Seen = tuple[int, bool, bool]
"""The rung, whether the engine waits for memory, and whether memory is short."""
AS_PLANNED: Final[Seen] = (0, False, False)


def seen_in(health: object) -> Seen:
    """Return what an answer to `/health` shows, which is not trusted. Pure."""
    fields = mapping(health)
    rung = integer(mapping(fields.get("lowered")).get("rung"))
    return rung, bool(fields.get("waits_for")), "memory_left_bytes" in fields


def words_of(before: Seen, now: Seen, status: object) -> str:
    """Return what to say of a change, in a sentence or three; empty where nothing is. Pure.

    `status`: what `/steprun/status` says now, which is not trusted.
    """
    fields = mapping(status)
    (rung_before, _, short_before), (rung, waits, short) = before, now
    if waits:
        return _bounded(f"The engine waits for {fields.get('waits_for') or 'memory'}")
    if rung != rung_before:
        lowered = mapping(fields.get("lowered"))
        gave_up = lowered.get("gave_up")
        lost = "; ".join(map(str, gave_up)) if isinstance(gave_up, list) else ""
        if not rung:
            return "Memory is free again: the engine runs as it was planned."
        if rung < rung_before:
            return _bounded(f"Memory is free again, in part. Still given up: {lost}.")
        return _bounded(
            f"Memory was short. Given up for now: {lost}. {lowered.get('because') or ''}"
        )
    if short and not short_before:
        left = size(integer(fields.get("memory_left_bytes")))
        return f"Memory is short: {left} are left. New questions wait for a moment."
    return "Memory is no longer short." if short_before and not short else ""


def _bounded(text: str) -> str:
    return clean(text).strip()[:_LONGEST]


async def memory_news(
    endpoint: Endpoint, report: Callable[[HostNews], object], look_s: float = LOOK_S
) -> None:
    """Tell what changes at a gateway, until cancelled. One that does not answer tells nothing."""
    import httpx2  # noqa: PLC0415 - `chat --help` needs no HTTP

    from runner.net.http import async_client  # noqa: PLC0415

    before, waits_for = AS_PLANNED, ""
    async with async_client(httpx2.Timeout(ANSWER_S), endpoint) as http:

        async def ask(path: str) -> dict[str, Any]:
            reply = await http.get(endpoint.base_url + path, headers=endpoint.headers())
            return dict(mapping(reply.json()))

        while True:
            await asyncio.sleep(look_s)
            try:
                health = await ask(_HEALTH)
                now, waits = seen_in(health), str(health.get("waits_for") or "")
                if now == before and waits == waits_for:
                    continue
                status = await ask(_STATUS)
            except (httpx2.HTTPError, httpx2.StreamError, OSError, ValueError):
                continue
            if words := words_of(before, now, status):
                context, sees = integer(status.get("context")), status.get("sees") is True
                report(HostNews(words, context, sees))
            before, waits_for = now, waits
