"""Answers of servers that are not ours, as bytes over real HTTP: odd, damaged, huge, or slow."""

import asyncio
import json
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx2
import pytest

from runner.base.errors import Refused, UsageError
from runner.chat import client
from runner.chat.client import stream
from runner.chat.events import Event, Failed, Finished, Reasoning, Text
from runner.chat.wire import Message, Options, parse_chunk
from runner.net.endpoint import Endpoint
from tests.fakes.loopback import Loopback


class Server(Loopback):
    """Answers each request with one body, in chunks of `size` bytes."""

    method = "POST"

    def __init__(
        self, body: bytes, status: int = 200, headers: dict[str, str] | None = None, size: int = 0
    ) -> None:
        self.body, self.status, self.headers, self.size = body, status, headers or {}, size
        super().__init__()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        to.rfile.read(int(to.headers["Content-Length"]))
        to.close_connection = True
        to.send_response(self.status)
        for key, value in self.headers.items():
            to.send_header(key, value)
        to.send_header("Transfer-Encoding", "chunked")
        to.end_headers()
        size = self.size or len(self.body) or 1
        for at in range(0, len(self.body), size):
            piece = self.body[at : at + size]
            to.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        to.wfile.write(b"0\r\n\r\n")


def sse(*chunks: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


async def events(server: Server, key: str = "") -> list[Event]:
    with server:
        end = Endpoint(server.url, api_key=key)
        return [event async for event in stream(end, [Message("user", "hi")], Options())]


def joined(found: list[Event], kind: type[Text] | type[Reasoning] = Text) -> str:
    return "".join(event.text for event in found if isinstance(event, kind))


async def failure(server: Server, key: str = "") -> Any:
    last = (await events(server, key))[-1]
    assert isinstance(last, Failed)
    return last.error


async def test_characters_that_were_cut_in_two():
    pieces = [delta(content=half) for half in ("a\ud83d", "\ude00b\ud83d", "c")]
    thought = [delta(reasoning="\ud83d"), delta(reasoning="\ude00")]
    found = await events(Server(sse(*thought, *pieces, END)))
    assert (joined(found), joined(found, Reasoning)) == ("a😀b\ufffdc", "😀")
    assert joined(await events(Server(sse(delta(content="x\ud83d"), END)))) == "x\ufffd"
    raw = json.dumps(delta(content="語😀"), ensure_ascii=False).encode()
    found = await events(Server(b"data: " + raw + b"\n\n" + sse(END), size=1))
    assert joined(found) == "語😀"


def test_a_chunk_is_read_in_a_moment():
    chunk = json.dumps(delta(content="x"))
    start = time.process_time()
    for _ in range(300):
        list(parse_chunk(chunk))
    assert time.process_time() - start < 1  # it took 16 s when each absent name was searched for


async def test_an_answer_has_a_longest(monkeypatch):
    monkeypatch.setattr(client, "ANSWER_CHARACTERS", 1000)
    assert isinstance((await events(Server(sse(delta(content="x" * 1000), END))))[-1], Finished)
    error = await failure(Server(sse(*[delta(content="x" * 100)] * 11, END)))
    assert "1,000 characters" in error.why


async def test_an_empty_answer_and_one_of_another_api():
    assert "sent no answer" in (await failure(Server(b""))).what
    error = await failure(Server(sse({"type": "message_start"}, {"type": "message_stop"})))
    assert "message_start" in error.why
    assert "OpenAI-compatible" in error.next


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (402, '{"error":{"message":"Insufficient credits"}}', Refused, "payment"),
        (405, "Method Not Allowed", None, "no chat completions"),
        (413, "<html>413</html>", UsageError, "too large"),
        (524, "error code: 524", None, "A proxy answered"),
        (502, "<html>Bad Gateway</html>", None, "A proxy answered"),
        (503, '{"error":{"message":"Loading model"}}', None, "Loading model"),
        (400, '{"error":"Model unloaded."}', UsageError, "which model"),
    ],
)
async def test_statuses_in_words(status, body, kind, words):
    error = await failure(Server(body.encode(), status))
    assert words in str(error)
    assert kind is None or type(error) is kind


@pytest.mark.parametrize(
    ("header", "words"),
    [("7", "Wait 7 s and"), ("600", "Wait 10 min"), ("soon", "Wait a moment"), ("0", "a moment")],
)
async def test_a_pause_that_the_server_asks_for(header, words):
    assert words in (await failure(Server(b"", 429, {"Retry-After": header}))).next


async def test_a_key_that_was_refused_is_named_as_such_and_never_shown():
    body = json.dumps({"error": {"message": "Bad key sk-SECRET"}}).encode()
    for status in (401, 403):
        error = await failure(Server(body, status), "sk-SECRET")
        assert "not accept the API key" in error.what
        assert "SECRET" not in str(error)
        assert "requires an API key" in (await failure(Server(b"", status))).what
    streamed = sse({"error": {"message": "Bad key sk-SECRET"}})
    assert "SECRET" not in str(await failure(Server(streamed), "sk-SECRET"))
    assert "SECRET" not in str(await failure(Server(b"sk-SECRET"), "sk-SECRET"))


async def test_the_end_of_thinking_in_code_is_text():
    for code in ("In XML:\n```xml\n<a></think></a>\n```\nend", "Then `<a></think>` ends it."):
        for size in (1, 3, 1000):
            parts = [code[at : at + size] for at in range(0, len(code), size)]
            found = await events(Server(sse(*(delta(content=part) for part in parts), END)))
            assert joined(found) == code
            assert len({type(event) for event in found}) == 2


async def test_encryption_that_fails_is_named(monkeypatch):
    with Server(b"") as server:
        url = server.url.replace("http:", "https:")
        found = [event async for event in stream(Endpoint(url), [], Options())]
        assert isinstance(found[-1], Failed)
        assert "does not speak https" in found[-1].error.what
        # A server of one's own with a certificate of one's own, on this machine too.
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
        found = [event async for event in stream(Endpoint(url), [], Options())]
        assert isinstance(found[-1], Failed)
        assert "SSL_CERT_FILE" in found[-1].error.next
        assert isinstance((await events(Server(sse(delta(content="x"), END))))[-1], Finished)
    untrusted = httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")
    error = client._lost(Endpoint("https://box"), untrusted)
    assert "is not trusted" in error.what
    assert "SSL_CERT_FILE" in error.next


async def test_a_program_that_hangs_up_at_once():
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        messages = [Message("user", "hi")]
        url = f"http://127.0.0.1:{port}"
        found = [event async for event in stream(Endpoint(url), messages, Options())]
    assert isinstance(found[-1], Failed)
    assert "does not speak HTTP" in found[-1].error.what
