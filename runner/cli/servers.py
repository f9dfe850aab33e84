"""The server that a command is about: the one that runs, or the one that was named."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import click

from runner.base.errors import SteprunError, UsageError
from runner.engine.process import servers
from runner.engine.process.servers import ServerRecord
from runner.net.endpoint import same_origin, server_address

NONE_RUNS = "No server is running. Start one: steprun serve"


def place_argument(command: Callable[..., int]) -> Callable[..., int]:
    """Add the argument that names a server."""
    return click.argument("place", metavar="[URL|PORT]", default="")(command)


def port_of(place: str) -> int:
    """Return the port in an address as typed. Raises UsageError where there is none."""
    url = _url(place)
    tail = url.rsplit(":", 1)[-1]
    return int(tail) if tail.isdigit() else (443 if url.startswith("https:") else 80)


def named(place: str, verb: str) -> ServerRecord | None:
    """Return the server at a place, or without one the only one; None where none runs at all.

    `verb`: the command, for advice. The engine of a chat is taken only by its name. Raises
    UsageError where several run and none is named, and SteprunError where the one that is named
    does not run.
    """
    found = servers.running()
    if not place:
        found = [each for each in found if each.command == "serve"]
        if len(found) > 1:
            raise UsageError(
                f"{len(found)} servers are running.",
                why=f"They are: {_list(found)}.",
                next=f"Name one of them: steprun {verb} {found[0].port}",
            )
        return found[0] if found else None
    url = _url(place)
    is_port = place.strip().strip(":").isdigit()
    for record in found:
        if record.port == port_of(place) if is_port else same_origin(record.url, url):
            return record
    if not found:
        return None
    raise SteprunError(
        f"No server of yours runs at {url}.",
        why=f"Running: {_list(found)}.",
        next=f"Name one of them: steprun {verb} {found[0].port}",
    )


def asleep() -> list[ServerRecord]:
    """Return the servers whose engine is unloaded: they take no memory, and will want it."""
    found = [each for each in servers.running() if each.command == "serve"]
    if not found:
        return []
    from runner.gateway.asking import status_of  # brings httpx2

    sleeping = []
    for each in found:
        with suppress(SteprunError):  # a key that cannot be read: it is somebody else's affair
            if (status_of(each) or {}).get("state") == "asleep":
                sleeping.append(each)
    return sleeping


def _url(place: str) -> str:
    address = server_address(place)
    if address is None:
        raise UsageError(
            f"{place!r} is neither an address nor a port.",
            why="A server is named as it was when it started.",
            next="See which are running: steprun ps",
        )
    return address[0]


def _list(found: Sequence[ServerRecord]) -> str:
    return ", ".join(f"{each.url} ({each.served.title} {each.served.quant})" for each in found)
