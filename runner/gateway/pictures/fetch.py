"""Downloads pictures by address: within a time, up to a size, and from where `addresses` allows.

A name is resolved once, every address that it has is checked, and those very addresses are
connected to. Nothing of the machine's is sent: no cookie, no password, no name of the model.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address, ip_interface
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
import psutil
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from runner.gateway.pictures.addresses import (
    NOT_PUBLIC,
    Reach,
    after_redirect,
    checked,
    is_public,
)
from runner.gateway.refusal import Refusal
from runner.gateway.settings import PictureUrls
from runner.net.http import AGENT, HOPS

DOWNLOAD_BYTES: Final = 20 << 20
DOWNLOAD_S: Final = 15.0  # for one picture, with all its redirects
CONNECT_S: Final = 5.0
_WIDEST: Final = {4: 8, 6: 32}  # bits that the addresses of one network share at least
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADERS: Final = {
    "User-Agent": AGENT,
    "Accept": "image/*",
    "Accept-Encoding": "identity",  # pictures are packed already, and nothing is unpacked here
}
_NOT_FOUND: Final = "The picture could not be downloaded: the name of its server is not found."
_LOST: Final = "The picture could not be downloaded: the server did not answer as one does."
_SLOW: Final = f"The picture could not be downloaded within {DOWNLOAD_S:.0f} s."
_LONG: Final = f"The picture is larger than {DOWNLOAD_BYTES >> 20} MiB."
_HOPS: Final = "The picture could not be downloaded: its address leads on and on."

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # the numeric addresses of a name


def is_public_and_far(address: str) -> bool:
    """Return whether an address belongs to the public internet, and to no network of this machine.

    At home, IPv6 gives the printer an address of the public internet.
    """
    return is_public(address) and not is_near(address)


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name. Raises OSError where there are none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def is_near(address: str) -> bool:
    """Return whether an address is in a network that this machine is in."""
    wanted = ip_address(address)
    for interface in psutil.net_if_addrs().values():
        for each in interface:
            if each.family not in {socket.AF_INET, socket.AF_INET6} or not each.netmask:
                continue
            bits = int(ip_address(each.netmask)).bit_count()
            network = ip_interface(f"{each.address.partition('%')[0]}/{bits}").network
            # A tunnel may say that everything is near.
            if bits >= _WIDEST[network.version] and wanted in network:
                return True
    return False


class _Checked(AbstractResolver):
    """Resolves names, and hands out only what may be asked."""

    def __init__(self, reach: Reach, resolve: Resolve) -> None:
        self._reach, self._resolve = reach, resolve

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - all are asked for
    ) -> list[ResolveResult]:
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError):
            found = ()
        if not found and self._reach.trusted:
            raise Refusal(400, _NOT_FOUND)
        # One that is private is enough: whoever mixes them has a reason.
        if not found or not all(self._reach.allows(each) for each in found):
            raise Refusal(400, NOT_PUBLIC)
        return [
            ResolveResult(
                hostname=host,
                host=each,
                port=port,
                family=socket.AF_INET6 if ":" in each else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for each in found
        ]

    async def close(self) -> None:
        """Hold nothing."""


def reach_of(setting: PictureUrls) -> Reach | None:
    """Return what a setting means, None for no downloads."""
    if setting == "off":
        return None
    if setting == "public":
        return Reach(is_public_and_far)
    return Reach(lambda _: True, frozenset(), trusted=True)


class Fetcher:
    """Downloads pictures. `resolve`: finds the addresses of a name."""

    def __init__(self, reach: Reach | None, resolve: Resolve = addresses_of) -> None:
        self.reach = reach
        self._resolve = resolve
        self._tls: ssl.SSLContext | None = None

    def check(self, address: str) -> None:
        """Raise Refusal (400) for an address that may not be asked, as far as it says."""
        checked(address, self.reach)

    async def download(self, address: str) -> bytes:
        """Return what an address holds. Raises Refusal (400), and says why without the address."""
        url = checked(address, self.reach)
        if self._tls is None:
            self._tls = await asyncio.to_thread(httpx2.create_ssl_context)  # reads SSL_CERT_FILE
        try:
            async with asyncio.timeout(DOWNLOAD_S):
                return await self._follow(url)
        except TimeoutError:
            raise Refusal(400, _SLOW) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Refusal(400, _LOST) from error

    async def _follow(self, url: URL) -> bytes:
        reach = self.reach or Reach()
        connector = aiohttp.TCPConnector(
            resolver=_Checked(reach, self._resolve),
            use_dns_cache=False,
            force_close=True,
            ssl=self._tls or True,
        )
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            auto_decompress=False,
            trust_env=False,  # it would also read passwords from ~/.netrc
            timeout=aiohttp.ClientTimeout(total=DOWNLOAD_S, sock_connect=CONNECT_S),
        ) as session:
            for _ in range(HOPS + 1):
                proxy = _proxy_for(url) if reach.trusted else None
                async with session.get(url, allow_redirects=False, proxy=proxy) as answer:
                    if answer.status not in _REDIRECTS:
                        return await _content(answer)
                    url = after_redirect(url, answer.headers.get("Location", ""), reach)
        raise Refusal(400, _HOPS)


async def _content(answer: aiohttp.ClientResponse) -> bytes:
    if answer.status != 200:
        raise Refusal(
            400, f"The picture could not be downloaded: its server answers {answer.status}."
        )
    if answer.content_length and answer.content_length > DOWNLOAD_BYTES:
        raise Refusal(400, _LONG)
    data = bytearray()
    async for piece in answer.content.iter_any():
        data += piece
        if len(data) > DOWNLOAD_BYTES:
            raise Refusal(400, _LONG)
    return bytes(data)


def _proxy_for(url: URL) -> str | None:
    if proxy_bypass(url.host or ""):
        return None
    proxy = getproxies().get(url.scheme, "")
    return proxy if proxy.startswith("http://") else None
