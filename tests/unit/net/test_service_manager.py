"""What a service manager hears: through a real socket, as systemd holds one."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.base.errors import SteprunError
from runner.cli.render.common import TransientLine
from runner.cli.render.managed import ManagedReport, watched
from runner.gateway.settings import Settings
from runner.net.service_manager import ServiceManager, from_environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such sockets")


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Return the socket of a service manager, at `notify` in the current folder."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as at:
        at.bind("notify")  # a path of a socket has 107 bytes at most
        at.settimeout(10)
        yield at


def manager(watchdog_s: float = 0.0) -> ServiceManager:
    return ServiceManager("notify", watchdog_s)


def test_the_variables_are_for_this_process_only() -> None:
    environ = {
        "NOTIFY_SOCKET": "/run/user/1/notify",
        "WATCHDOG_USEC": "60000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/h",
    }
    found = from_environment(environ)
    assert found.listens
    assert found.watchdog_s == 60
    assert environ == {"HOME": "/h"}


@pytest.mark.parametrize(
    ("address", "micros", "pid", "listens", "watchdog_s"),
    [
        ("", "60000000", "", False, 0),
        ("vsock:2:9", "", "", False, 0),
        ("@name", "500000", "", True, 0.5),
        ("/n", "60000000", "1", True, 0),  # for another process
        ("/n", "-3", "", True, 0),
        ("/n", "9" * 400, "", True, 0),
    ],
)
def test_what_the_environment_says(
    address: str, micros: str, pid: str, listens: bool, watchdog_s: float
) -> None:
    found = from_environment(
        {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": micros, "WATCHDOG_PID": pid}
    )
    assert (found.listens, found.watchdog_s) == (listens, watchdog_s)


def test_each_step_is_told(heard: socket.socket) -> None:
    report = ManagedReport(Settings(title="Tiny"), TransientLine(), manager())
    report.listening(8080)
    assert heard.recv(999) == b"READY=1\nSTATUS=Tiny is loading."
    for seconds in (0.1, 0.2, 9.9, 10.1):
        report.loading(seconds, None)
    assert heard.recv(999) == b"STATUS=Tiny has been loading for 0 s."
    assert heard.recv(999) == b"STATUS=Tiny has been loading for 10 s."
    report.ready("log")
    assert heard.recv(999) == b"STATUS=Tiny answers."
    report.restarting(SteprunError("It died.", why="Of\nX=1."), 1)
    assert heard.recv(999) == b"STATUS=It died. Of X=1. The engine is started again."


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such names")
def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as at:
        at.bind(f"\0steprun-test-{os.getpid()}")
        at.settimeout(10)
        ServiceManager(f"@steprun-test-{os.getpid()}").send("READY=1")
        assert at.recv(999) == b"READY=1"


async def test_pings_arrive_while_the_loop_turns_and_no_longer(heard: socket.socket) -> None:
    heard.setblocking(False)
    loop = asyncio.get_running_loop()
    async with watched(manager(watchdog_s=0.3)), asyncio.timeout(10):
        for _ in range(3):
            assert await loop.sock_recv(heard, 999) == b"WATCHDOG=1"
        time.sleep(0.5)  # a loop that hangs
        with pytest.raises(BlockingIOError):
            heard.recv(999)
    said = [await loop.sock_recv(heard, 999)]
    while said[-1] != b"STOPPING=1":
        said.append(await loop.sock_recv(heard, 999))
    assert set(said[:-1]) <= {b"WATCHDOG=1"}


async def test_without_a_manager_nothing_is_sent() -> None:
    async with watched(ServiceManager()):
        ServiceManager().send("READY=1")
    ServiceManager("/nonexistent/socket").send("READY=1")  # it has ended: nothing depends on it
