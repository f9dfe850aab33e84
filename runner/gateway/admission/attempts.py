"""Wrong keys, by the address that they are sent from: how many, and what to answer.

The right key always passes: whoever shares an address with somebody who guesses (a reverse proxy,
a company's network) must not be locked out by him. Guessing is hopeless as keys have at least 16
characters; the limit keeps the log and a misconfigured client's loop short.
"""

import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from runner.gateway.refusal import Refusal

FREE: Final = 10  # wrong keys of one address in a window that are answered 401
WINDOW_S: Final = 60.0
_ADDRESSES: Final = 1024  # that are remembered; the ones seen longest ago are forgotten
_log = logging.getLogger(__name__)


class Attempts:
    """Counts wrong keys. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def refusal(self, remote: str | None, refusal: Refusal) -> Refusal:
        """Return what to answer to a request that had a wrong key."""
        address, now = network_of(remote), self._clock()
        since, count = self._seen.pop(address, (now, 0))
        if now - since >= WINDOW_S:
            since, count = now, 0
        self._seen[address] = (since, count + 1)
        if len(self._seen) > _ADDRESSES:
            self._seen.popitem(last=False)
        if count == 0:
            _log.warning("A request from %s had a wrong API key.", remote)
        if count < FREE:
            return refusal
        wait = int(since + WINDOW_S - now) + 1
        return Refusal(
            429,
            f"Too many requests from your address had a wrong API key. {refusal.message}",
            retry_after_s=wait,
        )


def network_of(remote: str | None) -> str:
    """Return what counts as one address: of IPv6 the half that names a network."""
    try:
        address = ipaddress.ip_address((remote or "").partition("%")[0])
    except ValueError:
        return remote or ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
