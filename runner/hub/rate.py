"""The download rate of the last pull from each hub, to estimate how long the next one will take."""

from typing import Final

from runner.base.paths import state_dir
from runner.base.state import JsonState
from runner.base.units import MIB
from runner.hub.settings import endpoint

_LEAST_BYTES: Final = 64 * MIB  # less says little: connections begin slowly
_LEAST_S: Final = 2.0
_RATES: Final = JsonState(lambda: state_dir() / "rate.json", dict[str, int], dict)


def remember(received: int, took_s: float) -> None:
    """Keep the rate of a pull of `received` bytes, if it was long enough to tell."""
    if received >= _LEAST_BYTES and took_s >= _LEAST_S:
        _RATES.try_change(lambda known: known | {endpoint(): round(received / took_s)})


def recall() -> int | None:
    """Return bytes a second from the hub in use; None where no pull from it was long enough."""
    return _RATES.read().get(endpoint()) or None
