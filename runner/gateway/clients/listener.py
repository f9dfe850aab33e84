"""Listens: sockets, and as many connections as this process may have files."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from runner.gateway.clients.connection import HEAD_S, Connections
from runner.gateway.service import Service

_WANTED_FILES: Final = 8192  # below the 10,240 that macOS lets a process have
_OWN_FILES: Final = 128  # for logs, models, pictures
_MOST: Final = 2048  # connections; each costs some 30 KB before its body
_BACKLOG: Final = 512  # connections that the system keeps until they are accepted
_BATCH: Final = 16  # that are accepted before anything else is done: 2 ms
_LAST_S: Final = 2.0  # for answers that are still being sent when the gateway stops


@asynccontextmanager
async def listening(service: Service, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Listen within the block; yields the port."""
    connections = Connections(service.handle, _connections())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        connections,
        service.settings.host,
        service.settings.port,
        ssl=tls,
        ssl_handshake_timeout=HEAD_S if tls else None,
        backlog=_BATCH,
        reuse_address=os.name == "posix" or None,
    )
    if os.name == "posix":  # asyncio has one number for both
        for each in server.sockets:
            with socket.socket(fileno=os.dup(each.fileno())) as same:
                same.listen(_BACKLOG)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        connections.pre_shutdown()
        await connections.shutdown(_LAST_S)


def _connections() -> int:
    """Return how many connections fit; each may need another one to the engine."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return _MOST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _WANTED_FILES:
        wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError):
            pass  # then there are fewer
    if soft == resource.RLIM_INFINITY:
        return _MOST
    return max(16, min(_MOST, (soft - _OWN_FILES) // 2))
