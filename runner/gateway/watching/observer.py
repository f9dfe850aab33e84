"""Sees all that a gateway does: follows its requests, counts and logs them, and says so when asked.

It answers the gateway's own routes: `/health`, `/metrics` and `/steprun/status`.
"""

import time
from typing import Final

import msgspec
from aiohttp import web

from runner.gateway.activity import Activity, Entry
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.relay import Relay
from runner.gateway.settings import Settings
from runner.gateway.watching import metrics
from runner.gateway.watching.account import account_of
from runner.gateway.watching.metrics import Metrics
from runner.gateway.watching.request_log import RequestLog
from runner.gateway.watching.status import Status

STATUS_PATH: Final = "/steprun/status"
METRICS_PATH: Final = "/metrics"


class Observer:
    """What is known of one gateway. `log`: where each request is written down, once it is there."""

    def __init__(self, settings: Settings, keeper: Keeper, relay: Relay) -> None:
        self._keeper = keeper
        self._settings = settings
        self._metrics = Metrics()
        self.activity = Activity(self._ended)
        self.status = Status(settings, keeper, relay, self.activity)
        self.log: RequestLog | None = None

    def _ended(self, entry: Entry) -> None:
        if entry.quiet:
            return
        account = account_of(entry, time.time())
        self._metrics.note(account)
        if self.log is not None:
            self.log.write(account)

    async def answer(self, path: str) -> web.Response:
        """Answer one of the gateway's own routes."""
        if path == STATUS_PATH:
            return _json(await self.status.document())
        if path == METRICS_PATH:
            text = self._metrics.text(self._now(), self.status.state())
            headers = {"Content-Type": metrics.CONTENT_TYPE}
            return web.Response(body=text.encode(), headers=headers)
        return _json(self.status.health(), 200 if self.status.ready else 503)

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
