"""Listens: sockets, the limits of a connection, and the loop that serves until it is stopped."""

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from runner.gateway.service import Service

HEAD_BYTES: Final = 16 << 10  # of one header line
CLOSE_S: Final = 2.0  # for what is being sent when the listener closes: all else was refused before
_log = logging.getLogger(__name__)


@asynccontextmanager
async def listening(service: Service, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Listen within the block; yields the port."""
    server = web.Server(
        service.handle,
        access_log=None,
        logger=_log,
        handler_cancellation=True,  # a client that hangs up needs no answer
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
    )
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=CLOSE_S)
    await runner.setup()
    try:
        site = web.TCPSite(
            runner,
            service.settings.host,
            service.settings.port,
            ssl_context=tls,
            backlog=512,
        )
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
