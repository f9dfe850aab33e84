"""Asks `/health` again and again from a process of its own, and keeps how long each answer took."""

from __future__ import annotations

import http.client
import math
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from typing import Any, Self

EVERY_S = 0.05
LATE_S = 5.0  # no answer after so long counts as this long


class Watch:
    """Watches from entering to leaving."""

    def __init__(self, place: tuple[str, int]) -> None:
        self._place = place
        self.times: list[tuple[float, float]] = []  # when it was asked (time.monotonic), seconds

    def __enter__(self) -> Self:
        """Begin."""
        context = get_context("spawn")
        self._mine, its = context.Pipe()
        self._process: Any = context.Process(target=_watch, args=(self._place, its), daemon=True)
        self._process.start()
        self._mine.recv()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._mine.send("end")
        self.times = self._mine.recv()
        self._process.join()


def _watch(place: tuple[str, int], pipe: Pipe) -> None:
    times: list[tuple[float, float]] = []
    pipe.send("begun")
    while not pipe.poll(EVERY_S):
        began = time.monotonic()
        connection = http.client.HTTPConnection(*place, timeout=LATE_S)
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
            times.append((began, time.monotonic() - began))
        except (OSError, http.client.HTTPException):
            times.append((began, LATE_S))
        finally:
            connection.close()
    pipe.send(times)


def percentile(values: list[float], part: float) -> float:
    """Return the value that this part of all values does not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[math.ceil(part * len(ordered)) - 1] if ordered else 0.0
