"""Figures for Prometheus, in its text format: counters and histograms of what was answered.

Written here: it is a page of text, and the client library of Prometheus would be one more
dependency for it. Labels come from tables only, so that no client can make their number grow.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from runner.gateway.watching.account import Account

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# From a cached prompt on a fast machine to 64K tokens read on a slow one (1,342 s by StepFun's
# table for a Strix Halo).
BUCKETS_S: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
STATES: Final = ("loading", "ready", "busy", "restarting", "asleep", "stopping")


class Histogram:
    """Counts seconds by size. `sums`: of all of them."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        at = sum(bound < seconds for bound in BUCKETS_S)
        self.counts[at] += 1
        self.total += seconds

    def lines(self, name: str) -> Iterable[str]:
        """Return its lines."""
        seen = 0
        for bound, count in zip((*BUCKETS_S, "+Inf"), self.counts, strict=True):
            seen += count
            yield f'{name}_bucket{{le="{bound}"}} {seen}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {seen}"


class Metrics:
    """What one gateway has answered so far."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._tokens: Counter[str] = Counter()
        self._rereads = 0
        self.saved_s = 0.0
        self._seconds = {"first_token": Histogram(), "wait": Histogram(), "request": Histogram()}

    def note(self, account: Account) -> None:
        """Count one request."""
        self._requests[account.api, account.status] += 1
        self._tokens["prompt"] += account.prompt_tokens or 0
        self._tokens["cached"] += account.cached_tokens or 0
        self._tokens["restored"] += account.restored_tokens or 0
        self._rereads += account.reread_because is not None
        self.saved_s += account.saved_s or 0.0
        self._tokens["generated"] += account.tokens or 0
        self._tokens["drafted"] += account.drafted or 0
        self._tokens["accepted"] += account.accepted or 0
        taken = {
            "first_token": account.first_token_s,
            "wait": account.waited_s if account.tokens is not None else None,
            "request": account.total_s if account.tokens is not None else None,
        }
        for name, seconds in taken.items():
            if seconds is not None:
                self._seconds[name].add(seconds)

    def text(self, now: Mapping[str, float], state: str) -> str:
        """Return all figures. `now`: those of this moment, by name; `state`: as `ps` has it."""
        lines: list[str] = []
        for (api, status), count in sorted(self._requests.items()):
            lines += [f'steprun_requests_total{{api="{api}",status="{status}"}} {count}']
        out = _metric("requests_total", "counter", "Requests that are over.", lines)
        for kind, about in _TOKENS.items():
            name = f"{kind}_tokens_total"
            out += _metric(name, "counter", about, [f"steprun_{name} {self._tokens[kind]}"])
        for name, about, value in (
            ("rereads_total", "Prompts of which much was read again.", self._rereads),
            ("saved_seconds_total", "Seconds of reading that the cache saved.", self.saved_s),
        ):
            out += _metric(name, "counter", about, [f"steprun_{name} {value:g}"])
        for kind, about in _SECONDS.items():
            name = f"{kind}_seconds"
            rows = self._seconds[kind].lines(f"steprun_{name}")
            out += _metric(name, "histogram", about, rows)
        for name, value in now.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            out += _metric(name, kind, _NOW[name], [f"steprun_{name} {value:g}"])
        rows = [f'steprun_state{{state="{each}"}} {int(each == state)}' for each in STATES]
        out += _metric("state", "gauge", "1 for the state that the server is in.", rows)
        return "\n".join(out) + "\n"


_TOKENS: Final = {
    "prompt": "Tokens of prompts, those from the cache included.",
    "cached": "Tokens of prompts that were in the cache.",
    "restored": "Tokens of prompts that were restored from the disk.",
    "generated": "Tokens that were generated.",
    "drafted": "Tokens that draft heads proposed.",
    "accepted": "Tokens that draft heads proposed and the model accepted.",
}
_SECONDS: Final = {
    "first_token": "From the arrival of a streamed request to its first token.",
    "wait": "From the arrival of a request until the engine was asked.",
    "request": "From the arrival of a request to the end of its answer.",
}
_NOW: Final = {
    "running": "Requests that the engine works on.",
    "waiting": "Requests that wait for their turn or for the engine.",
    "engine_restarts_total": "How often the engine was started again.",
    "uptime_seconds": "Since the server began to listen.",
    "memory_bytes": "Memory planned for the engine.",
    "resident_bytes": "Memory that the system counts for the engine's process.",
}


def _metric(name: str, kind: str, about: str, rows: Iterable[str]) -> list[str]:
    return [f"# HELP steprun_{name} {about}", f"# TYPE steprun_{name} {kind}", *rows]
