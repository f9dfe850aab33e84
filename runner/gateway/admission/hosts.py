"""The `Host` header: under which names a gateway answers. Pure.

A web page whose own name is made to point at this machine (DNS rebinding) is refused here: the
browser sends the page's name. An IP address is always accepted: a page can have an address as its
name only where it was loaded from that address, so that nothing was rebound, and addresses that
this machine does not know of (a container's published port, a forwarded one) need no option.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from runner.gateway.refusal import Refusal

_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{0,5})?")
# What Docker and Podman call the machine that a container runs on. `.internal` is reserved for
# private use (ICANN, 29 July 2024), so that no page of the internet has such a name.
_CONTAINERS: Final = frozenset({"host.docker.internal", "host.containers.internal"})


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names of one gateway, beside this machine's loopback: lower case, without a port."""

    names: frozenset[str] = frozenset()

    def check(self, headers: Mapping[str, str]) -> str:
        """Return the `Host` of a request. Raises Refusal (400, 403)."""
        host = headers.get("Host", "").lower()
        if not host:
            raise Refusal(400, "The request has no Host header.")
        if (name := host_name(host)) is None:
            raise Refusal(400, "The Host header is not a name or an address.")
        if is_address(name) or is_local(name) or name in _CONTAINERS or name in self.names:
            return host
        raise Refusal(
            403,
            f"This server does not answer under the name {name[:100]}. If that is a name of this "
            f"machine, start the server with: steprun serve --allow-host {name[:100]}",
        )


def host_name(authority: str) -> str | None:
    """Return the name or the address in `NAME`, `NAME:PORT` or `[ADDRESS]:PORT`, None in others."""
    found = _AUTHORITY.fullmatch(authority)
    return found[1].strip("[]").removesuffix(".").lower() or None if found else None


def is_address(name: str) -> bool:
    """Whether it is an IP address, as browsers write one."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_local(name: str) -> bool:
    """Whether it can only be this machine: RFC 6761 keeps `localhost` for the loopback."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
