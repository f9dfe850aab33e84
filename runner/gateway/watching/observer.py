"""Sees all that a gateway does: follows its requests, counts and logs them, and says so when asked.

It answers the gateway's own routes: `/health`, `/metrics` and `/steprun/status`.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec.structs import replace

from runner.gateway.activity import Activity, Entry
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.relay import Relay
from runner.gateway.prompts.earlier import Earlier
from runner.gateway.settings import Settings
from runner.gateway.trouble.health import HealthReading
from runner.gateway.trouble.notices import Notices
from runner.gateway.watching import metrics
from runner.gateway.watching.account import Account, account_of
from runner.gateway.watching.events import MemoryEvent
from runner.gateway.watching.metrics import Metrics
from runner.gateway.watching.read_rate import ReadRate
from runner.gateway.watching.request_log import RequestLog
from runner.gateway.watching.status import Status

STATUS_PATH: Final = "/steprun/status"
METRICS_PATH: Final = "/metrics"


class Observer:
    """What is known of one gateway. `log`: where each request is written down, once it is there.

    `rate`: where it notes how fast prompts are read. `asked`: how many requests there were, but for
    those that only look. `hears`: who is told of each account; `share`: who says how fast answers
    are, of what they were, None where there is nothing to say.
    """

    def __init__(
        self, settings: Settings, keeper: Keeper, relay: Relay, rate: ReadRate | None = None
    ) -> None:
        self._keeper = keeper
        self._settings = settings
        self._metrics = Metrics()
        self.rate = rate or ReadRate()
        self.activity = Activity(self._ended)
        self.status = Status(settings, keeper, relay, self.activity)
        self.log: RequestLog | None = None
        self._earlier = Earlier()
        self.asked = 0
        self.notices = Notices()
        self.health = HealthReading()
        self.hears: Callable[[Entry, Account], None] = lambda _, __: None
        self.share: Callable[[], float | None] = lambda: None
        relay.begins = self._begins

    def _begins(self, entry: Entry) -> None:
        entry.read_tps = self.rate.tps or entry.read_tps
        self._earlier.judge(entry, self._keeper.starts)
        if entry.generates:
            self._mark_shared(entry)

    def _mark_shared(self, entry: Entry) -> None:
        """Note who is answered at the same time: each is slower then."""
        for other in self.activity.running.values():
            if other is not entry and other.generates and other.stage in {"reading", "writing"}:
                other.shared = entry.shared = True

    def _ended(self, entry: Entry) -> None:
        if entry.quiet:
            return
        self.asked += 1
        account = account_of(entry, time.time())
        if account.prompt_tokens is not None and account.cached_tokens is not None:
            read = account.prompt_tokens - account.cached_tokens
            self.rate.note(read, account.read_s or 0.0)
        tps = self.rate.tps or entry.read_tps
        if account.cached_tokens is not None and tps:
            account = replace(account, saved_s=round(account.cached_tokens / tps, 3))
        self._metrics.note(account)
        self.hears(entry, account)
        if entry.trouble:
            self.notices.add("ended", f"{entry.trouble}. The answer was ended ({entry.client}).")
        if self.log is not None:
            self.log.write(account)

    def change(self, settings: Settings) -> None:
        """Note that something else is served from now on."""
        self._settings = self.status.settings = settings

    def answering(self) -> int:
        """Return how many requests the engine is answering."""
        return self.activity.answering()

    def happened(self, event: MemoryEvent) -> None:
        """Note what happened to the engine."""
        self.status.events.append(event)
        if self.log is not None:
            self.log.write(event)

    async def answer(self, path: str) -> web.Response:
        """Answer one of the gateway's own routes."""
        if path == STATUS_PATH:
            return _json(await self._status())
        if path == METRICS_PATH:
            text = self._metrics.text(self._now(), self.status.state())
            headers = {"Content-Type": metrics.CONTENT_TYPE}
            return web.Response(body=text.encode(), headers=headers)
        return _json(self.status.health(), 200 if self.status.ready else 503)

    async def _status(self) -> dict[str, Any]:
        document = await self.status.document()
        share = self.share()
        more = {
            "saved_s": round(self._metrics.saved_s, 1),
            "rate_share": None if share is None else round(share, 2),
            "health": await self.health.words(),
            "notices": self.notices.rows(),
        }
        return document | {name: value for name, value in more.items() if value not in (None, [])}

    def _now(self) -> dict[str, float]:
        return {
            "running": self.status.running(),
            "waiting": self.status.waiting(),
            "engine_restarts_total": self._keeper.restarts,
            "uptime_seconds": self.status.uptime_s,
            "memory_bytes": self._settings.served.total_bytes,
            "resident_bytes": self.status.resident_bytes,
        }


def _json(document: dict[str, object], status: int = 200) -> web.Response:
    body = msgspec.json.encode(document)
    return web.Response(status=status, body=body, content_type="application/json")
