"""How fast weights came from the hub the last time, to say how long the next will take."""

import contextlib
import json
from typing import Final

from runner.base import files
from runner.base.errors import Refused
from runner.base.paths import state_dir
from runner.hub.settings import endpoint

_LEAST_BYTES: Final = 64 << 20  # less says little: connections begin slowly
_LEAST_S: Final = 2.0
_NAME: Final = "rate.json"


def remember(came: int, took_s: float) -> None:
    """Note what a pull has shown, if it was long enough to show anything."""
    if came >= _LEAST_BYTES and took_s >= _LEAST_S:
        known = _read() | {endpoint(): round(came / took_s)}
        with contextlib.suppress(Refused):  # the weights are here, which is what was asked for
            files.write_private(state_dir() / _NAME, json.dumps(known))


def recall() -> int | None:
    """Return bytes a second from the hub in use; None where nothing came from it yet."""
    found = _read().get(endpoint())
    return found if isinstance(found, int) and found > 0 else None


def _read() -> dict[str, int]:
    try:
        data = json.loads((state_dir() / _NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
