"""Bodies as servers send them, cut anywhere; and servers that send anything at all."""

import asyncio
import itertools
import json
from http.server import BaseHTTPRequestHandler

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.chat.client import identify, stream
from runner.chat.events import Event, Failed, Finished, Reasoning, Text
from runner.chat.payloads import Payloads, TooLong
from runner.chat.wire import Message, Options
from runner.net.endpoint import Endpoint
from tests.fakes.loopback import Loopback


def payloads(body: bytes, size: int = 1 << 20) -> list[str]:
    found = Payloads(1 << 20)
    told = [text for at in range(0, len(body), size) for text in found.feed(body[at : at + size])]
    return [*told, *found.close()]


BODIES = {
    "line feeds": (b'data: {"a":1}\n\ndata: [DONE]\n\n', ['{"a":1}', "[DONE]"]),
    "both, with a mark": (
        b'\xef\xbb\xbfdata:{"a":1}\r\n\r\ndata: [DONE]\r\n\r\n',
        ['{"a":1}', "[DONE]"],
    ),
    "carriage returns": (b"data: 1\r\rdata: 2\r\r", ["1", "2"]),
    "comments and other fields": (b": hi\nid: 7\nretry: 1\ndata: 1\n\n: bye\n\n", ["1"]),
    "two lines of data": (b'data: {"a":\ndata: 1}\n\n', ['{"a":\n1}']),
    "no blank line at the end": (b"data: 1", ["1"]),
    "an error field": (b'error: {"message":"no"}\n\n', ['{"error": {"message": "no"}}']),
    "an error event": (b"event: error\ndata: no luck\n\n", ['{"error": "no luck"}']),
    "one object": (b'{\n "a": 1\n}\n', ['{\n "a": 1\n}']),
    "an object a line": (b'{"a":1}\n{"a":2}\n', ['{"a":1}', '{"a":2}']),
    "letters of several bytes": ('data: "é😀"\n\n'.encode(), ['"é😀"']),
    "bytes that are no letters": (b"data: \xff\xfe\n\n", ["\ufffd\ufffd"]),
}


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("name", BODIES)
def test_bodies_are_taken_apart_however_they_are_cut(name: str, size: int) -> None:
    body, told = BODIES[name]
    assert payloads(body, size) == told


@pytest.mark.parametrize("piece", [b"x" * 65536, b"data: x\n" * 8192, b"{\n" * 32768])
def test_an_endless_event_is_ended(piece: bytes) -> None:
    found = Payloads(1 << 20)
    with pytest.raises(TooLong):
        list(itertools.chain.from_iterable(map(found.feed, [piece] * 200)))


def test_comments_may_go_on_for_ever() -> None:
    found = Payloads(1 << 16)
    for _ in range(100):
        assert not list(found.feed(b": waiting\n" * 1000))


class RawServer(Loopback):
    """Answers every request with the same bytes."""

    method = "GET POST"

    def __init__(self, body: bytes, kind: str = "text/event-stream", status: int = 200) -> None:
        self.body, self.kind, self.status = body, kind, status
        super().__init__()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        to.rfile.read(int(to.headers.get("Content-Length") or 0))
        to.send_response(self.status)
        to.send_header("Content-Type", self.kind)
        to.send_header("Content-Length", str(len(self.body)))
        to.end_headers()
        to.wfile.write(self.body)


async def told(server: RawServer) -> list[Event]:
    endpoint = Endpoint(server.url, api_key="secret-key")
    return [event async for event in stream(endpoint, [Message("user", "hi")], Options())]


def chunk(**delta: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"


END = b'data: {"choices":[{"delta":{},"finish_reason":"eos"}]}\n\n'
# As vLLM, OpenRouter, Ollama, Mistral, LM Studio and a plain JSON server write it.
DIALECTS: dict[str, tuple[bytes, str]] = {
    **{
        name: (chunk(**{name: "Hm"}) + chunk(content="Yes") + END, "text/event-stream")
        for name in ("reasoning", "reasoning_content", "thinking", "reasoning_text")
    },
    "details": (
        chunk(reasoning="Hm", reasoning_details=[{"type": "reasoning.text", "text": "Hm"}])
        + chunk(content="Yes")
        + END,
        "text/event-stream",
    ),
    "parts": (
        chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}])
        + chunk(content=[{"type": "text", "text": "Yes"}])
        + END,
        "text/event-stream",
    ),
    "tags": (chunk(content="[THI") + chunk(content="NK]Hm[/THINK]Yes") + END, "text/event-stream"),
    "JSON": (
        b'{"choices":[{"message":{"reasoning":"Hm","content":"Yes"},"finish_reason":"STOP"}]}',
        "application/json",
    ),
    "NDJSON": (
        b'{"message":{"thinking":"Hm"},"done":false}\n{"message":{"content":"Yes"},"done":false}\n'
        b'{"message":{"content":""},"done":true,"done_reason":"stop"}\n',
        "application/x-ndjson",
    ),
}


@pytest.mark.parametrize("name", DIALECTS)
async def test_thinking_and_answer_under_every_name(name: str) -> None:
    with RawServer(*DIALECTS[name]) as server:
        assert await told(server) == [Reasoning("Hm"), Text("Yes"), Finished("stop")]


@pytest.mark.parametrize(
    "error",
    [
        b'data: {"error":{"message":"out of paper"}}\n\n',
        b'data: {"error":"out of paper"}\n\n',
        b'error: {"message":"out of paper","code":500}\n\n',
        b'event: error\ndata: {"message":"out of paper"}\n\n',
        b'data: {"object":"error","message":"out of paper","code":500}\n\n',
        b'data: {"detail":"out of paper"}\n\n',
        b'data: {"choices":[{"delta":{}}],"error":{"message":"out of paper"}}\n\n',
        b'{"error":"out of paper"}',
    ],
)
async def test_an_error_after_text_keeps_the_text(error: bytes) -> None:
    with RawServer(chunk(content="Well") + error) as server:
        first, last = await told(server)
    assert first == Text("Well")
    assert isinstance(last, Failed)
    assert last.error.why == "out of paper"


async def test_a_key_that_the_server_repeats_is_not_shown() -> None:
    with RawServer(b'{"error":"Wrong key: secret-key"}', "application/json", 401) as server:
        (failed,) = await told(server)
    assert isinstance(failed, Failed)
    assert failed.error.why == "Wrong key: ***"


@pytest.mark.parametrize("status", [301, 307])
async def test_a_chat_is_not_sent_elsewhere(status: int) -> None:
    with RawServer(b"", status=status) as server:
        (failed,) = await told(server)
    assert isinstance(failed, Failed)
    assert "another address" in failed.error.what


pieces = st.sampled_from(
    [b"data: ", b"error: ", b"\n", b"\r", b"{", b"}", b"[DONE]", b"\xff", b"\n\n", b"null", END]
)
bodies = st.lists(pieces | st.binary(max_size=8), max_size=20).map(b"".join)


@settings(max_examples=30, deadline=None)
@given(bodies, st.sampled_from([200, 204, 302, 400, 401, 404, 418, 422, 500]))
def test_whatever_a_server_sends_the_answer_ends_once(body: bytes, status: int) -> None:
    with RawServer(body, status=status) as server:
        events = asyncio.run(told(server))
    assert isinstance(events[-1], Finished | Failed)
    assert not any(isinstance(event, Finished | Failed) for event in events[:-1])


@settings(max_examples=15, deadline=None)
@given(bodies)
def test_whatever_a_server_lists_it_is_identified(body: bytes) -> None:
    with RawServer(body) as server:
        props, offers = asyncio.run(identify(Endpoint(server.url)))
    assert isinstance(props, dict)
    assert all(offer.name for offer in offers)
