"""Tells the service manager that started this process how it is (sd_notify of systemd).

One datagram a message, to the socket that the variable NOTIFY_SOCKET names; a name that begins
with `@` is of Linux's abstract sockets. Source: sd_notify(3), sd_watchdog_enabled(3).
"""

import contextlib
import os
import socket
from collections.abc import MutableMapping

_MICRO = 1_000_000


class ServiceManager:
    """Whoever has started this process as a service; nobody where `address` is empty.

    `watchdog_s`: it ends this process where it does not hear of it for so long; 0: it never does.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s if self._address else 0.0
        self._said = ""

    @property
    def listens(self) -> bool:
        """Whether there is one."""
        return bool(self._address)

    def send(self, *lines: str) -> None:
        """Send lines such as `READY=1`. What cannot be sent is lost: nothing depends on it here."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to,
        ):
            to.setblocking(False)
            to.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)

    def status(self, text: str) -> None:
        """Say in a sentence what this process does; the same twice is said once."""
        if text != self._said:
            self._said = text
            self.send(f"STATUS={' '.join(text.split())}")


def from_environment(environ: MutableMapping[str, str]) -> ServiceManager:
    """Return the service manager that the environment names.

    Its variables are taken out: they are for this process, and not for those that it starts.
    """
    names = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
    address, micros, pid = (environ.pop(name, "") for name in names)
    if not hasattr(socket, "AF_UNIX") or address[:1] not in {"/", "@"}:
        return ServiceManager()
    mine = pid in {"", str(os.getpid())} and micros.isdecimal() and len(micros) < 16
    return ServiceManager(address, int(micros) / _MICRO if mine else 0.0)
