"""Only an address of this machine may do without TLS, a proxy or a key."""

import pytest

from runner.net.endpoint import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_this_machine(host: str) -> None:
    assert is_loopback(f"http://{host}:8080/v1")


@pytest.mark.parametrize("host", ["127.example.org", "localhost.example.org", "192.0.2.1", "[::]"])
def test_another_machine(host: str) -> None:
    assert not is_loopback(f"http://{host}:8080/v1")
