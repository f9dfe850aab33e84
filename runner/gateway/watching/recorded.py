"""Lets other commands of steprun find this gateway: its record, and the file of its requests."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from runner.base.errors import SteprunError
from runner.engine.process import servers
from runner.gateway.settings import Settings
from runner.gateway.watching.observer import Observer
from runner.gateway.watching.request_log import CHATS, RequestLog, request_log_path


class Recorded(contextlib.AbstractAsyncContextManager["Recorded"]):
    """Keeps the record of one gateway within the block, from the moment it listens."""

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self._settings = settings
        self._observer = observer
        self._path: Path | None = None
        self._log: RequestLog | None = None
        self._record: servers.ServerRecord | None = None

    async def __aenter__(self) -> Self:
        """Begin without a record: the port is not known yet."""
        return self

    def listening(self, port: int) -> None:
        """Write the record, and begin to log. Without a record, it only cannot be found."""
        settings = self._settings
        path = request_log_path(port if settings.command == "serve" else CHATS)
        self._log = self._observer.log = RequestLog(path)
        self._record = servers.own_record(
            url_here(settings, port),
            time.time(),
            settings.served,
            key_file=settings.key_file,
            certificate=settings.certificate,
            request_log=path,
            command=settings.command,
        )
        self._write()

    def change(self, settings: Settings) -> None:
        """Note that something else is served from now on."""
        if self._record is not None:
            self._record = replace(self._record, served=settings.served)
            self._write()

    def _write(self) -> None:
        if self._record is not None:
            with contextlib.suppress(SteprunError):
                self._path = servers.write_server(self._record)

    async def __aexit__(self, *_: object) -> None:
        """Remove the record, and write what is left of the log."""
        self._observer.log = None
        await self._observer.status.close()
        await self._observer.health.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        if self._log is not None:
            await asyncio.to_thread(self._log.close)


def url_here(settings: Settings, port: int) -> str:
    """Return the address at which this machine reaches the gateway."""
    # A wildcard address is one to listen on, not one to talk to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    scheme = "https" if settings.certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
