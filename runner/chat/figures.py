"""What a server of steprun says of itself: its state, and its memory against the plan."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import psutil

from runner.base.errors import SteprunError
from runner.base.text import clean, clean_name
from runner.chat.client import read_json
from runner.chat.untrusted import integer, mapping, number
from runner.net.endpoint import Endpoint
from runner.net.http import async_client

PATH: Final = "/steprun/status"
_LONGEST: Final = 400  # characters of what was given up
ANSWER_S: Final = 2.0  # a gateway answers within 0.6 s


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """A server at one moment; what is not known is 0 or empty.

    `planned`: bytes that the plan counts in all, of `limit` that it may take. `resident`: bytes
    that the system counts for the engine's process. `free`: bytes that are free on this machine,
    where it is the server's, too. `gave_up`: what it does without for now, as memory was short.
    """

    engine: str = ""
    quant: str = ""
    planned: int = 0
    limit: int = 0
    resident: int = 0
    free: int = 0
    restarts: int = 0
    uptime_s: float = 0.0
    gave_up: str = ""


def parse_figures(found: object, free: int = 0) -> ServerFigures | None:
    """Return what a server says of itself, which is not trusted; None where it is none of ours."""
    fields: Mapping[str, Any] = mapping(found)
    if "memory_bytes" not in fields or "resident_bytes" not in fields:
        return None
    return ServerFigures(
        engine=_word(fields.get("engine")),
        quant=_word(fields.get("quant")),
        planned=integer(fields.get("memory_bytes")),
        limit=integer(fields.get("limit_bytes")),
        resident=integer(fields.get("resident_bytes")),
        free=free,
        restarts=integer(fields.get("restarts")),
        uptime_s=number(fields.get("uptime_s")),
        gave_up=_listed(mapping(fields.get("lowered")).get("gave_up")),
    )


def _listed(value: object) -> str:
    words = "; ".join(map(str, value)) if isinstance(value, list) else ""
    return clean(words)[:_LONGEST]


def _word(value: object) -> str:
    return clean_name(value) if isinstance(value, str) and value.strip() else ""


async def ask_figures(endpoint: Endpoint) -> ServerFigures | None:
    """Ask a server what it is doing; None where it does not say, or is no server of steprun."""
    try:
        async with (
            asyncio.timeout(ANSWER_S),
            async_client(httpx2.Timeout(ANSWER_S), endpoint) as http,
            http.stream("GET", endpoint.base_url + PATH, headers=endpoint.headers()) as reply,
        ):
            if reply.status_code != 200:
                return None
            found = await read_json(reply)
    except (httpx2.HTTPError, httpx2.StreamError, OSError, ValueError, SteprunError):
        return None
    free = await asyncio.to_thread(_free) if endpoint.owned else 0
    return parse_figures(found, free)


def _free() -> int:
    return int(psutil.virtual_memory().available)
