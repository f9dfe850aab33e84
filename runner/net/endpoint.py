"""Addresses of servers: the endpoint that a chat talks to, and whether two URLs are one server."""

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server.

    `owned`: steprun started it, and stops it; a server that the user named is only spoken to.
    `api_key` never appears in a repr, so that it cannot reach a log or a trace. `longest_word`: the
    most characters without a break that it bears in a message; 0 where that is not known.
    """

    base_url: str
    api_key: str = ""
    owned: bool = False
    longest_word: int = 0

    def __repr__(self) -> str:
        """Name the place, never the key."""
        return f"Endpoint({self.base_url!r}, owned={self.owned})"

    @property
    def local(self) -> bool:
        """Whether it is on this machine, so that no proxy may be used."""
        return is_loopback(self.base_url)

    def headers(self) -> dict[str, str]:
        """Return the headers that authorise a request."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


def is_loopback(url: str) -> bool:
    """Tell whether a URL names this machine."""
    return is_loopback_host(urlsplit(url).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Tell whether only this machine can reach a host: 127.example.org may be anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def split_url(url: str) -> SplitResult | None:
    """Take an http or https URL apart; None where it is not one."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where the port is not a number
    except ValueError:
        return None
    valid = parts.scheme in _PORTS and parts.hostname and url.isprintable() and " " not in url
    return parts if valid else None


def same_origin(one: str, other: str) -> bool:
    """Tell whether two URLs have the same scheme, host and port."""
    a, b = split_url(one), split_url(other)
    return a is not None and b is not None and _origin(a) == _origin(b)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
