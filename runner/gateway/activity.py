"""What is going on: each request from its arrival to its end, for `ps`, the log and the metrics."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from runner.gateway.refusal import Api

Stage = Literal["arriving", "waiting", "reading", "writing", "ended"]


@dataclass(slots=True)
class Entry:
    """One request. Times are of `time.monotonic`, 0 where it has not come to that.

    `client`: the name of its key. `tail`: the last bytes of the answer, which hold the engine's
    account of it.
    """

    number: int
    client: str
    api: Api
    path: str
    arrived: float
    stage: Stage = "arriving"
    status: int = 0
    began: float = 0.0
    first_byte: float = 0.0
    sent_bytes: int = 0
    tail: bytearray = field(default_factory=bytearray)

    def wait(self) -> None:
        """Note that it waits for its turn."""
        self.stage = "waiting"

    def begin(self) -> None:
        """Note that the engine is asked now."""
        self.stage, self.began = "reading", time.monotonic()

    def passes(self, data: bytes) -> None:
        """Note a piece of the answer."""
        if not self.first_byte:
            self.first_byte, self.stage = time.monotonic(), "writing"
        self.sent_bytes += len(data)


class Activity:
    """All requests of one gateway."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.running: dict[int, Entry] = {}

    def answering(self) -> int:
        """Return how many requests the engine is answering."""
        return sum(entry.stage in ("reading", "writing") for entry in self.running.values())

    @contextmanager
    def request(self, client: str, api: Api, path: str) -> Iterator[Entry]:
        """Follow one request within the block."""
        entry = Entry(next(self._numbers), client, api, path, time.monotonic())
        self.running[entry.number] = entry
        try:
            yield entry
        finally:
            entry.stage = "ended"
            del self.running[entry.number]
