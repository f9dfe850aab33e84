"""The clock of Ollama's answers; everything else of them is pure, and tests pass another."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]


def now() -> float:
    """Return seconds since 1970."""
    return time.time()


def stamp(moment: float) -> str:
    """Return a moment as Ollama writes it: RFC 3339 in UTC."""
    written = datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")
    return written.replace("+00:00", "Z")
