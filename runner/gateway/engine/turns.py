"""Whose turn it is at the engine: as many at once as it has slots, the others wait in order.

The order is fair by client: whoever was served least recently is next, and within one client who
came first. An agent that sends ten requests at once does not keep another one waiting for ten.
"""

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from runner.gateway.refusal import Refusal

# 200 clients on one machine were all answered before there was a bound, and still are.
WAITING: Final = 512
WAITING_OF_ONE: Final = 256  # one client leaves half of the places to others
LONGEST_RETRY_S: Final = 60  # the SDKs of OpenAI and Anthropic ignore a Retry-After above that
FIRST_GUESS_S: Final = 5.0  # of a turn's length, before one has ended
_WEIGHT: Final = 0.2  # of the latest turn in the usual length


class Turns:
    """Hands out places at the engine.

    `places`: how many there are. `waiting` and `of_one` bound who waits: all, and of one client.
    """

    def __init__(
        self, places: int, *, waiting: int = WAITING, of_one: int = WAITING_OF_ONE
    ) -> None:
        self._places = places
        self._free = places
        self._most = waiting
        self._most_of_one = of_one
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        self._holding: Counter[str] = Counter()
        self._served: dict[str, int] = {}  # when each client had its last turn, of those here
        self._numbers = itertools.count(1)
        self._length_s = FIRST_GUESS_S
        self._over: Callable[[], Refusal] | None = None
        self._held: set[str] = set()  # by whom

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._queues.values()))

    @property
    def taken(self) -> int:
        """How many have a place."""
        return self._places - self._free

    def retry_after_s(self) -> int:
        """Return in how many seconds a place is likely, for somebody who comes now."""
        guess = self._length_s * (self.waiting + 1) / self._places
        return max(1, min(LONGEST_RETRY_S, round(guess)))

    def close(self, refusal: Callable[[], Refusal]) -> None:
        """Refuse everybody who waits or comes from now on; who has a turn keeps it."""
        self._over = refusal
        for queue in self._queues.values():
            for place in queue:
                if not place.done():
                    place.set_exception(refusal())
        self._queues.clear()

    def hold(self, *, held: bool, by: str = "memory") -> None:
        """Give no turns for the time being, or give them again; who has one keeps it.

        `by`: for what. Turns are given again when nothing holds them any more.
        """
        (self._held.add if held else self._held.discard)(by)
        self._next()

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Hold one place within the block. `client`: who asks. Raises Refusal (503) when full."""
        await self._take(client)
        began = time.monotonic()
        try:
            yield
        finally:
            self._length_s += _WEIGHT * (time.monotonic() - began - self._length_s)
            self._leave(client)

    async def _take(self, client: str) -> None:
        if self._over is not None:
            raise self._over()
        if self._free and not self._held:
            self._grant(client)
            return
        queue = self._queues.get(client, deque())
        if self.waiting >= self._most or len(queue) >= self._most_of_one:
            raise Refusal(
                503,
                f"{self.waiting} requests are waiting already. Send this one again later.",
                retry_after_s=self.retry_after_s(),
            )
        place = asyncio.get_running_loop().create_future()
        self._queues[client] = queue
        queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._leave(client)  # it was given a place in the same moment
            else:
                self._forget(client, place)
            raise

    def _grant(self, client: str) -> None:
        self._free -= 1
        self._holding[client] += 1
        self._served[client] = next(self._numbers)

    def _leave(self, client: str) -> None:
        self._free += 1
        self._holding[client] -= 1
        if not self._holding[client]:
            del self._holding[client]
        self._next()
        self._tidy(client)

    def _next(self) -> None:
        while self._free and self._queues and not self._held:
            # A client that is new here has had no turn yet: 0.
            client = min(self._queues, key=lambda each: self._served.get(each, 0))
            place = self._queues[client].popleft()
            if not self._queues[client]:
                del self._queues[client]
            if not place.done():
                self._grant(client)
                place.set_result(None)

    def _forget(self, client: str, place: asyncio.Future[None]) -> None:
        queue = self._queues.get(client)
        if queue is not None and place in queue:
            queue.remove(place)
            if not queue:
                del self._queues[client]
        self._tidy(client)

    def _tidy(self, client: str) -> None:
        if client not in self._holding and client not in self._queues:
            self._served.pop(client, None)
