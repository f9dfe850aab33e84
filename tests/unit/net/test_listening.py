"""Where a server may listen, what is said where it may not, and how others reach it."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest

from runner.base.errors import Refused
from runner.net import listening
from runner.net.listening import cannot_listen, check_listen, own_addresses, reached_at

EVERY = "0.0.0.0"  # noqa: S104 - nothing listens on it


def again(option: str, value: str) -> str:
    return f"steprun serve --demo {option} {value}"


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port on which this process listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def interfaces(**addresses: str) -> dict[str, list[SimpleNamespace]]:
    """Return network cards as psutil does."""
    return {
        name: [SimpleNamespace(family=socket.AF_INET6 if ":" in a else socket.AF_INET, address=a)]
        for name, a in addresses.items()
    }


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[SimpleNamespace]]:
    """Give this machine two network cards, one container network and one card that is down."""
    cards = interfaces(
        lo="127.0.0.1",
        docker0="172.17.0.1",
        eth0="192.0.2.7",
        wlan0="fd00::7",
        eth1="198.51.100.7",
    ) | interfaces(eth2="fe80::1%eth2")
    states = {name: SimpleNamespace(isup=name != "eth1") for name in cards}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: cards)
    monkeypatch.setattr(psutil, "net_if_stats", lambda: states)
    monkeypatch.setattr(listening, "_preferred", lambda: iter(()))
    return cards


def test_a_free_port_may_be_listened_on() -> None:
    check_listen("127.0.0.1", 0, again)
    check_listen("localhost", 0, again)


def test_a_taken_port_is_refused_with_who_has_it_and_one_that_is_free(taken: int) -> None:
    with pytest.raises(Refused) as caught:
        check_listen("127.0.0.1", taken, again)
    error = caught.value
    assert error.what == f"Port {taken} on 127.0.0.1 cannot be used."
    command, _, port = error.next.rpartition(" ")
    assert command == "Choose another: steprun serve --demo --port"
    check_listen("127.0.0.1", int(port), again)
    if sys.platform == "linux":
        assert f"(process {os.getpid()})" in error.why


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the administrator may know")
def test_another_serve_is_named_with_how_to_talk_to_it() -> None:
    listens = "import socket,sys; s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen(); "
    listens += "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", listens, "steprun", "serve"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        with pytest.raises(Refused) as caught:
            check_listen("127.0.0.1", port, again)
        other.kill()
    assert caught.value.why == f"Another steprun serve listens there (process {other.pid})."
    assert f"steprun chat --url http://127.0.0.1:{port}" in caught.value.next


def test_who_has_the_port_need_not_be_known(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    with pytest.raises(Refused) as caught:
        check_listen("127.0.0.1", taken, again)
    assert caught.value.why == "Another program listens there."


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70, "ü..x"])
def test_an_unknown_host_is_no_matter_of_the_port(
    host: str, network: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Refused) as caught:
        check_listen(host, 8080, again)
    assert caught.value.what == f"{host} is not an address of this computer."
    assert "This computer has: 192.0.2.7, fd00::7, 127.0.0.1." in caught.value.why
    assert caught.value.next.endswith("steprun serve --demo --host 0.0.0.0")


def test_the_address_of_another_machine_is_told_apart_from_a_taken_port() -> None:
    with pytest.raises(Refused, match="is not an address of this computer"):
        check_listen("203.0.113.9", 0, again)  # RFC 5737: nobody has it


def test_a_port_of_the_administrator() -> None:
    refused = cannot_listen("127.0.0.1", 80, PermissionError(errno.EACCES, "denied"), again)
    assert "below 1024" in refused.why
    assert refused.next == "Choose another: steprun serve --demo --port 8080"


def test_only_addresses_that_mean_something_elsewhere(network: object) -> None:
    assert own_addresses() == ("192.0.2.7", "fd00::7")
    assert own_addresses(6) == ("fd00::7",)


def test_a_wildcard_is_reached_at_the_machines_own_addresses(network: object) -> None:
    assert reached_at(EVERY) == ("192.0.2.7",)
    assert reached_at("::") == ("fd00::7",)
    assert reached_at("192.0.2.7") == ("192.0.2.7",)
    assert reached_at("spark.example.org") == ("spark.example.org",)


def test_without_a_network_a_wildcard_is_reached_on_this_machine(
    network: dict[str, object],
) -> None:
    network.clear()
    assert reached_at(EVERY) == ("127.0.0.1",)
    assert reached_at("::") == ("::1",)
