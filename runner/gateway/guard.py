"""What guards a gateway: its rules, made from the settings, and kept as its key file is."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from socket import gethostname
from typing import Final

from runner.base.beside import beside
from runner.gateway.admission import Rules, key_file
from runner.gateway.admission.hosts import Hosts
from runner.gateway.admission.origins import Origins
from runner.gateway.admission.tls import server_context
from runner.gateway.service import Service
from runner.gateway.settings import Settings
from runner.net.endpoint import is_loopback_host

LOOK_S: Final = 2.0  # a key that was revoked works for so long at most


def rules_of(settings: Settings) -> Rules:
    """Return the rules of a gateway. Raises Refused where its key file cannot be used."""
    keys = key_file.load(settings.key_file) if settings.key_file else {}
    names = {each.lower() for each in settings.allow_hosts}
    if not is_loopback_host(settings.host):
        own = gethostname().lower()
        short = own.partition(".")[0]
        names |= {own, short, f"{short}.local", settings.host.lower()}
    return Rules(
        keys,
        Hosts(frozenset(names)),
        Origins(frozenset(settings.allow_origins)),
        key_needed=settings.key_file is not None,
    )


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Return what to listen with; None without a certificate. Raises Refused."""
    if settings.certificate is None:
        return None
    return server_context(settings.certificate, settings.certificate_key)


def guarding(service: Service, on_news: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
    """Within the block, follow the key file; `on_news` hears when it has changed."""
    path = service.settings.key_file
    return beside(_follow(service, on_news) if path else None, "key file")


async def _follow(service: Service, on_news: Callable[[str], None]) -> None:
    assert service.settings.key_file is not None  # noqa: S101 - for the types
    ring = key_file.KeyRing(service.settings.key_file, service.rules.keys)
    while True:
        await asyncio.sleep(LOOK_S)
        news = await asyncio.to_thread(ring.refresh)
        if news is not None:
            service.rules = replace(service.rules, keys=ring.keys)
            on_news(news)
