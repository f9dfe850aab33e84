"""A gateway of ours is told which chat asks, other servers are not."""

import pytest

from runner.chat.client import stream
from runner.chat.wire import Message, Options
from runner.gateway.activity import chat_of
from runner.net.endpoint import CHAT_HEADER, Endpoint
from tests.fakes.sse_server import FakeServer

ID = "20261127-120000-0123abcd"


@pytest.mark.parametrize("owned", [True, False])
async def test_only_a_gateway_of_ours_is_told(owned):
    with FakeServer() as server:
        endpoint = Endpoint(server.url, owned=owned)
        async for _ in stream(endpoint, [Message("user", "hi")], Options(), chat=ID):
            pass
        assert server.sent[-1].get(CHAT_HEADER) == (ID if owned else None)


@pytest.mark.parametrize(
    ("sent", "taken"), [(ID, ID), ("../../etc", ""), ("a" * 41, ""), ("", ""), ("A b\n", "")]
)
def test_what_is_no_name_of_a_chat_is_left_out(sent, taken):
    assert chat_of({CHAT_HEADER: sent}) == taken
