"""A request's bytes: the same as ever, and never made on the interface's thread."""

import base64
import json
import threading

import pytest

from runner.chat.client import stream
from runner.chat.events import Finished
from runner.chat.request_bytes import SLICE, RequestBytes
from runner.chat.wire import Message, Options, Picture, request_body
from runner.net.endpoint import Endpoint
from tests.fakes.sse_server import FakeServer

MESSAGES = [
    Message(
        "user",
        'Gr\u00f6\u00dfe "x" \U0001f600',
        tuple(
            Picture(f"{size}.png", "image/png", bytes(range(256)) * (size // 256), 1, 1, 1)
            for size in (0, 256, 2 * SLICE, 2 * SLICE + 256)
        ),
    ),
    Message("assistant", "Yes.\n"),
    Message("user", "And?"),
]


async def encoded(messages: list[Message]) -> tuple[int, bytes]:
    pictures = RequestBytes()
    size, pieces = await pictures.encoded(request_body(messages, Options(), pictures.url))
    return size, b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("count", [1, 3])
async def test_the_bytes_are_those_of_the_whole_body(count):
    size, data = await encoded(MESSAGES[:count])
    body = request_body(MESSAGES[:count], Options())
    assert data == json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    assert size == len(data)


async def test_pictures_become_text_in_another_thread_and_in_slices(monkeypatch):
    seen = []
    encode = base64.b64encode

    def watched(data):
        seen.append((threading.current_thread() is threading.main_thread(), len(data)))
        return encode(data)

    monkeypatch.setattr(base64, "b64encode", watched)
    with FakeServer() as server:
        events = [event async for event in stream(Endpoint(server.url), MESSAGES, Options())]
    assert events[-1] == Finished("stop")
    assert seen
    assert not any(main or size > SLICE for main, size in seen)
    monkeypatch.undo()
    sent = server.requests[0]["messages"][0]["content"]
    lengths = [len(part["image_url"]["url"]) for part in sent[:-1]]
    assert lengths == [len(picture.data_url()) for picture in MESSAGES[0].pictures]
