"""How long `/health` takes, measured by a process of its own: whoever makes the load is busy."""

import http.client
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

EVERY_S: Final = 0.2
LIMIT_S: Final = 10.0


class Probe:
    """A process that asks for the health of the gateway at `url` until it is ended."""

    def __init__(self, url: str) -> None:
        argv = [sys.executable, __file__, url]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE)

    def end(self) -> dict[str, Any]:
        """Return milliseconds (`count`, `p50`, `p99`, `max`) and how many were not answered."""
        self._process.send_signal(signal.SIGTERM)
        out, _ = self._process.communicate(timeout=2 * LIMIT_S)
        found: dict[str, Any] = json.loads(out)
        return found


@contextmanager
def probing(url: str, into: dict[str, Any]) -> Iterator[None]:
    """Ask for the health within the block; put the figures into a dict at its end."""
    probe = Probe(url)
    try:
        yield
    finally:
        into.update(probe.end())


def summary(values: list[float], lost: int) -> Mapping[str, float]:
    """Return the figures of some times in milliseconds."""
    if len(values) < 2:
        return {"count": len(values), "lost": lost}
    cuts = statistics.quantiles(values, n=100)
    return {
        "count": len(values),
        "p50": round(cuts[49], 1),
        "p99": round(min(cuts[98], max(values)), 1),
        "max": round(max(values), 1),
        "lost": lost,
    }


def _main(url: str) -> None:
    values: list[float] = []
    lost, over = 0, False

    def end(*_: object) -> None:
        nonlocal over
        over = True

    signal.signal(signal.SIGTERM, end)
    place = urlsplit(url)
    while not over:
        began = time.perf_counter()
        # A new connection each time, as the probe of a supervisor or a load balancer makes it.
        line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=LIMIT_S)
        try:
            line.request("GET", "/health")
            line.getresponse().read()
            values.append((time.perf_counter() - began) * 1000)
        except (OSError, http.client.HTTPException):
            lost += not over
        finally:
            line.close()
        time.sleep(EVERY_S)
    print(json.dumps(summary(values, lost)))


if __name__ == "__main__":
    _main(sys.argv[1])
