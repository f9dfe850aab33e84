"""A client that wants a WebSocket is told at once that there is none."""

import pytest

from runner.gateway.clients.upgrade import refuse_websocket
from runner.gateway.refusal import Refusal


@pytest.mark.parametrize("value", ["websocket", "WebSocket", " websocket "])
def test_a_websocket_is_refused_with_426(value: str) -> None:
    with pytest.raises(Refusal) as caught:
        refuse_websocket({"Upgrade": value, "Connection": "Upgrade"})
    assert caught.value.status == 426


@pytest.mark.parametrize("headers", [{}, {"Upgrade": "h2c"}])
def test_other_requests_pass(headers: dict[str, str]) -> None:
    """Java's client offers HTTP/2 in clear text with every request, and goes on without."""
    refuse_websocket(headers)
