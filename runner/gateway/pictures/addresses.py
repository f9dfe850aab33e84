"""Which addresses pictures may be downloaded from. Pure.

An address is refused in the same words whether it is private or does not exist, so that the answers
tell nothing about the network that the gateway is in.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from yarl import URL

from runner.gateway.refusal import Refusal

ADDRESS_CHARS: Final = 8192  # a signed address has some 2,000
_OFF: Final = (
    "Pictures by address are not downloaded here (serve --picture-urls off): send it as base64."
)
_MALFORMED: Final = "The picture's address must be a data URL, or begin with http:// or https://."
_SECRETS: Final = "The picture's address holds a user name or password; those are not sent."
NOT_PUBLIC: Final = (
    "The picture's address is not that of a public server; only from those are pictures downloaded "
    "(serve --picture-urls). Send it as base64."
)
_PORTS: Final = "The picture's address names a port other than 80 and 443 (serve --picture-urls)."

# What is not the public internet: IANA's registries of special-purpose addresses (IPv4 and IPv6),
# without regard to what passes a router there. Written down here, as Python's own `is_global`
# differs between its versions.
_NOT_PUBLIC_4: Final = tuple(
    ip_network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
        *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
# Only 2000::/3 has been given out. Of it: protocols (Teredo among them), documentation, 6to4.
_UNICAST_6: Final = ip_network("2000::/3")
_NOT_PUBLIC_6: Final = tuple(
    ip_network(each)
    for each in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_NAT64: Final = ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address is in its last 32 bits
# A name whose last part is a number is an IPv4 address to some (WHATWG URL, section 3.5), written
# in ways that others do not know: decimal, octal, hexadecimal, shortened.
_NUMERIC: Final = re.compile(r"(.*\.)?([0-9]+|0[xX][0-9a-fA-F]*)\.?")
_UNFIT: Final = re.compile(r"[\x00-\x20\x7f\\]")


def is_public(address: str) -> bool:
    """Return whether a numeric address belongs to the public internet."""
    try:
        found = ip_address(address)
    except ValueError:  # one with a zone, too
        return False
    if isinstance(found, IPv6Address):
        if found in _NAT64:
            return is_public(str(IPv4Address(int(found) & 0xFFFF_FFFF)))
        if "%" in address or found not in _UNICAST_6:
            return False
        return not any(found in network for network in _NOT_PUBLIC_6)
    return not any(found in network for network in _NOT_PUBLIC_4)


@dataclass(frozen=True, slots=True)
class Reach:
    """Where pictures may be downloaded from.

    `allows`: says so of a numeric address. `ports`: empty for any. `trusted`: it is told what is
    there and what is not, and the proxies of the environment are used; a proxy finds the addresses
    itself, so that they cannot be checked.
    """

    allows: Callable[[str], bool] = is_public
    ports: frozenset[int] = frozenset({80, 443})
    trusted: bool = False


def checked(text: str, reach: Reach | None) -> URL:
    """Return an address that may be asked, as far as it says. Raises Refusal (400)."""
    if reach is None:
        raise Refusal(400, _OFF)
    try:
        url = URL(text) if len(text) <= ADDRESS_CHARS and not _UNFIT.search(text) else URL()
        host, port = url.host, url.port
    except ValueError:
        url, host, port = URL(), None, None
    if url.scheme not in {"http", "https"} or not host or not port:
        raise Refusal(400, _MALFORMED)
    if url.user is not None or url.password is not None:
        raise Refusal(400, _SECRETS)
    if reach.ports and port not in reach.ports:
        raise Refusal(400, _PORTS)
    numeric = ":" in host or _NUMERIC.fullmatch(host) is not None
    if numeric and not (_is_address(host) and reach.allows(host)):
        raise Refusal(400, NOT_PUBLIC)
    return url


def after_redirect(url: URL, location: str, reach: Reach) -> URL:
    """Return where a redirect leads. Raises Refusal (400) where it may not be followed."""
    try:
        found = url.join(URL(location)) if not _UNFIT.search(location) else URL()
    except ValueError:
        found = URL()
    if url.scheme == "https" and found.scheme == "http":
        raise Refusal(400, "The picture's address leads from https to http, which is not followed.")
    return checked(str(found), reach)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host
