"""Where a server may listen on this machine, and how others reach it there."""

import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import psutil

from runner.base.errors import Refused

# Returns the command that was typed, with another value of one option.
Again = Callable[[str, str], str]

_PRIVILEGED: Final = 1024  # ports below need an administrator on most systems
_TRIES: Final = 50  # ports that are tried, to name one that is free
# Networks of containers and virtual machines inside this computer: nobody else can reach them.
_INNER: Final = ("docker", "br-", "veth", "virbr", "cni", "flannel", "podman", "lxc", "vmnet")
# Nobody has these addresses (RFC 5737, RFC 3849): they only select the network to the outside.
_OUTSIDE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def check_listen(host: str, port: int, again: Again) -> None:
    """Raise `Refused` where nothing can listen there, before 105 GB are loaded."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise _not_here(host, "No address is known for it.", again) from error
    for family, _, _, _, address in found:
        try:
            _bind(family, address)
        except OSError as error:
            raise cannot_listen(host, port, error, again) from error


def cannot_listen(host: str, port: int, error: OSError, again: Again) -> Refused:
    """Return why nothing can listen there, as the system said it."""
    if error.errno == errno.EADDRNOTAVAIL:
        return _not_here(host, "It belongs to another machine, or to none.", again)
    if error.errno == errno.EINVAL:  # such as fe80::1 without the name of the network card
        return _not_here(host, "The system cannot listen on it.", again)
    what = f"Port {port} on {host} cannot be used."
    other = again("--port", str(_free(host, port)))
    if error.errno == errno.EADDRINUSE:
        listener = _listener(port)
        if listener is not None and _is_steprun(listener):
            return Refused(
                what,
                why=f"Another steprun serve listens there (process {listener.pid}).",
                next=f"To chat with it: steprun chat --url {_url(host, port)}\n"
                f"        For a second one: {other}",
            )
        why = "Another program listens there."
        if listener is not None:
            with suppress(psutil.Error):
                why = f"{listener.name()} listens there (process {listener.pid})."
        return Refused(what, why=why, next=f"Choose another: {other}")
    if error.errno == errno.EACCES and port < _PRIVILEGED:
        why = f"Ports below {_PRIVILEGED} are the administrator's on this system."
        return Refused(what, why=why, next=f"Choose another: {again('--port', '8080')}")
    return Refused(what, why=f"{error.strerror or error}.", next=f"Choose another: {other}")


def reached_at(host: str) -> tuple[str, ...]:
    """Return the hosts by which clients reach a server on `host`: an address, the best first.

    Of a wildcard address these are the machine's own, as other machines know them; the loopback's
    where it has no network.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return (host,)
    if not address.is_unspecified:
        return (host,)
    local = "127.0.0.1" if address.version == 4 else "::1"
    return own_addresses(address.version) or (local,)


def own_addresses(version: int | None = None) -> tuple[str, ...]:
    """Return this machine's addresses as other machines know them, the best first.

    `version`: 4 or 6 for only these. Empty where it has no network.
    """
    found = list(dict.fromkeys((*_preferred(), *_of_interfaces())))
    return tuple(each for each in found if version in {None, ipaddress.ip_address(each).version})


def _preferred() -> Iterator[str]:
    """Yield the addresses from which this machine speaks to the outside; nothing is sent."""
    for family, outside in _OUTSIDE:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 9))
            if _is_for_others(address := str(probe.getsockname()[0])):
                yield address


def _of_interfaces() -> Iterator[str]:
    with suppress(OSError, psutil.Error):
        states = psutil.net_if_stats()
        for name, addresses in psutil.net_if_addrs().items():
            up = name not in states or states[name].isup
            if not up or name.lower().startswith(_INNER):
                continue
            for each in addresses:
                if each.family in {socket.AF_INET, socket.AF_INET6} and _is_for_others(
                    each.address
                ):
                    yield each.address


def _is_for_others(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # with the name of an interface: it means nothing elsewhere
        return False
    return not (found.is_loopback or found.is_link_local or found.is_unspecified)


def _bind(family: int, address: Sequence[object]) -> None:
    with socket.socket(family) as probe:
        if os.name == "posix":  # as servers do: a port in TIME_WAIT is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # else it would also want the port of IPv4
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(tuple(address))


def _free(host: str, port: int) -> int:
    """Return a port that can be used, near the one that cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    first = max(port + 1, _PRIVILEGED)
    for each in range(first, min(first + _TRIES, 1 << 16)):
        with suppress(OSError, OverflowError):
            _bind(family, (host, each))
            return each
    return 8080


def _not_here(host: str, why: str, again: Again) -> Refused:
    own = ", ".join((*own_addresses(), "127.0.0.1"))
    return Refused(
        f"{host} is not an address of this computer.",
        why=f"{why} This computer has: {own}.",
        next=f"To listen on all of them: {again('--host', '0.0.0.0')}",  # noqa: S104 - an advice
    )


def _listener(port: int) -> psutil.Process | None:
    """Return the process that listens on a port; None where this user may not know."""
    with suppress(psutil.Error, OSError, RuntimeError):
        for each in psutil.net_connections("tcp"):
            listens = each.status == psutil.CONN_LISTEN and each.pid
            if listens and tuple(each.laddr)[1:] == (port,):
                return psutil.Process(each.pid)
    return None


def _is_steprun(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        words = process.cmdline()
        return "serve" in words and any(
            word.rsplit("/", 1)[-1].rsplit("\\", 1)[-1] in {"runner", "steprun", "steprun.exe"}
            for word in words
        )
    return False


def _url(host: str, port: int) -> str:
    there = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://{f'[{there}]' if ':' in there else there}:{port}"
