"""A server that is told to end the thinking may answer anything."""

import asyncio

import pytest

from runner.chat.control import end_thinking
from runner.net.endpoint import Endpoint


@pytest.mark.parametrize(
    ("body", "ends"),
    [
        (b'{"success": true}', True),
        (b'{"success": 1}', False),
        (b"[" * 60_000, False),
        (b"{" + b" " * (9 << 20), False),
    ],
    ids=("obeys", "odd", "deep", "long"),
)
async def test_a_reply_that_is_none_ends_no_chat(body, ends):
    async def reply(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await end_thinking(Endpoint(f"http://127.0.0.1:{port}"), "x") is ends
