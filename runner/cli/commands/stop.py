"""`steprun stop`: end a server; the answers that have begun are finished first."""

import os
import time

import click
import psutil

from runner.base.errors import Exit, Refused, SteprunError
from runner.cli.lazy import examples
from runner.cli.render.common import TransientLine
from runner.cli.render.wrap import say
from runner.cli.servers import NONE_RUNS, named, place_argument
from runner.engine.process import servers
from runner.engine.process.servers import ServerRecord

POLL_S = 0.1
AGAIN_S = 0.5  # between two signals: sooner, they may arrive as one
# A server that was told to end at once has so long: its guard stops the engine within 8 s.
NOW_S = 20.0


@click.command(epilog=examples("steprun stop", "steprun stop 8080", "steprun stop --now"))
@place_argument
@click.option("--now", is_flag=True, help="Do not wait for the answers that have begun.")
def stop(*, place: str, now: bool) -> int:
    """End a server that runs here, and wait until it has ended.

    It takes no new requests, finishes the answers that have begun, and stops its engine. Where
    several servers run, name one by its port or its address. So named, the engine of a chat ends,
    too, and the chat with it.
    """
    record = named(place, "stop")
    if record is None:
        say(
            " ".join([NONE_RUNS.split(". ")[0] + ".", *map(_of_a_chat, servers.running())]),
            err=True,
        )
        return Exit.FAILED if place else Exit.DONE
    process = _process(record)
    try:
        _end(record, process, now=now)
    except KeyboardInterrupt:
        say(
            f"{record.url} still finishes its answers. To end it at once: "
            f"steprun stop {record.port} --now",
            err=True,
        )
        return Exit.INTERRUPTED
    say(f"Stopped {record.served.title} at {record.url}.", err=True)
    return Exit.DONE


def _of_a_chat(record: ServerRecord) -> str:
    return (
        f"A chat has an engine of its own at {record.url}: end the chat where it runs, or from "
        f"here: steprun stop {record.port}"
    )


def _process(record: ServerRecord) -> psutil.Process:
    """Return a server's process. Raises Refused where it is another user's."""
    process = psutil.Process(record.pid)
    if os.name == "posix" and process.uids().real != os.getuid():
        raise Refused(
            f"The server at {record.url} is another user's.",
            why=f"Its process {record.pid} belongs to {process.username()}.",
            next="Stop it as that user.",
        )
    return process


def _end(record: ServerRecord, process: psutil.Process, *, now: bool) -> None:
    began = time.monotonic()
    with TransientLine() as line:
        try:
            process.terminate()
            if now and not _ended(record, AGAIN_S):
                process.terminate()
            while not _ended(record, POLL_S):
                waited = time.monotonic() - began
                line.show(f"stopping {record.served.title} ... {waited:.0f} s")
                if now and waited > NOW_S:
                    process.kill()  # its guard then ends the engine
        except psutil.NoSuchProcess:
            return
        except psutil.AccessDenied as error:
            raise SteprunError(
                f"The server at {record.url} cannot be stopped.",
                why=f"The system does not let this user end its process {record.pid}.",
                next="Stop it as the user who started it.",
            ) from error


def _ended(record: ServerRecord, seconds: float) -> bool:
    """Wait for the end of a server, for so long at most; return whether it has come."""
    deadline = time.monotonic() + seconds
    while record.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S / 4)
    return True
