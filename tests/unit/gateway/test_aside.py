"""What is set aside while a body is parsed: nobody can tell from what comes of the body."""

import base64
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.gateway import aside as module
from runner.gateway import bodies
from runner.gateway.aside import Aside
from runner.gateway.bodies.long_words import TEXT_BYTES
from runner.gateway.calls import call_of
from runner.gateway.pictures.find import find
from runner.gateway.refusal import Refusal
from runner.gateway.routes import routes
from tests.unit.gateway.conftest import Open

LONG = base64.b64encode(bytes(range(256)) * 100).decode()  # 34 KB
PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat", "/v1/completions")


@contextmanager
def stretches(size: int) -> Iterator[None]:
    """Set aside what is shorter, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STRETCH", size)
        patch.setattr(module, "_SEEN", max(1, size // 8))
        patch.setattr(module, "_KEPT", 96)  # refusals quote 80
        yield


def outcome(path: str, data: bytes, longest: int) -> Any:
    """Return what the engine is asked for a body, and which pictures are in it, or the refusal."""
    try:
        asked = bodies.read(routes()[path], data, bodies.Terms(2, sees=True))
        places, changed = find(asked.document)
        asked.changed |= changed
        bodies.refuse_long_words(asked, [place.text for place in places], longest)
        call = call_of(asked)
    except Refusal as refusal:
        # What is wrong with its JSON may be found at another place first.
        message = re.sub(r"(The body is not JSON).*", r"\1", refusal.message)
        return refusal.status, message, refusal.param
    pictures = [(b"".join(place.url(asked.aside)), place.path) for place in places]
    return call.method, call.path, b"".join(call.body), call.headers, pictures


LETTERS = st.sampled_from([*'Az7+/=_n"\\ \né', "u00"])
RUNS = st.sampled_from(("Ab9/", "7", "x")).flatmap(
    lambda run: st.integers(30, 300).map(run.__mul__)
)
TEXT = st.lists(LETTERS | RUNS, max_size=4).map("".join)
# No role is long; Ollama's are taken in any case, which a mark could not follow.
ROLE = st.lists(LETTERS, max_size=4).map("".join)
DAMAGE = (b"", b'"', b"\\", b"7" * 290 + b'"', b"A" * 290, b"A" * 290 + b'"', b"\xff")
PICTURE = TEXT.flatmap(lambda text: st.sampled_from((text, f"data:image/png;base64,{text}")))


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """Return a body of any API, with long texts where texts may be."""
    picture = draw(PICTURE)
    parts = (
        {"type": "text", "text": draw(TEXT)},
        {"type": "input_text", "text": draw(TEXT)},
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "image_url", "image_url": picture},
        {"type": "input_image", "image_url": picture},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture}},
    )
    content = draw(st.one_of(TEXT, st.lists(st.sampled_from(parts), max_size=4)))
    call = {"type": "function", "function": {"name": "f", "arguments": draw(TEXT)}}
    messages = [
        {
            "role": draw(st.sampled_from(("user", "system", "assistant", draw(ROLE)))),
            "content": content,
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "user", "content": draw(TEXT), "images": [picture]},
    ]
    count = draw(st.integers(1, 3))
    schema = {"type": "object", "description": draw(TEXT)}
    tool = {"type": "function", "name": "f", "input_schema": schema}
    if draw(st.booleans()):
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    more = {
        "tools": [tool],
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
        "tool_choice": draw(TEXT),
        "stop": [draw(TEXT)],
        draw(TEXT): draw(st.integers(0, 10**80)),
        "max_tokens": draw(st.integers(0, 10**80)),
        "stream": True,
    }
    kept = draw(st.sets(st.sampled_from(sorted(more))))
    return {
        "messages": messages[:count],
        "input": draw(st.one_of(TEXT, st.just(messages[:1]))),
        "prompt": draw(TEXT),
        **{name: value for name, value in more.items() if name in kept},
    }


@st.composite
def encoded(draw: st.DrawFn) -> bytes:
    """Return a body as bytes, at times damaged."""
    document = draw(documents())
    data = json.dumps(document, ensure_ascii=draw(st.booleans())).encode()
    if draw(st.integers(0, 3)):
        return data
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.sampled_from(DAMAGE)) + data[at + draw(st.integers(0, 2)) :]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PATHS), encoded(), st.sampled_from((0, 400)), st.sampled_from((100, 240)))
def test_a_body_means_the_same_whether_anything_is_set_aside_or_not(
    path: str, data: bytes, longest: int, size: int
) -> None:
    with stretches(1 << 30):
        expected = outcome(path, data, longest)
    with stretches(size):
        assert outcome(path, data, longest) == expected


def test_a_picture_is_set_aside_and_not_copied() -> None:
    data = json.dumps({"a": f"data:image/png;base64,{LONG}", "b": [LONG, "short"]}).encode()
    aside = Aside(data)
    assert len(aside.rest) < 1000
    parts = aside.parts(bytes(aside.rest))
    assert b"".join(parts) == data
    assert sum(part.obj is data for part in parts if isinstance(part, memoryview)) == 2


def test_it_is_found_wherever_it_begins() -> None:
    for before in range(0, 2 * module._STRETCH, 97):
        data = b'{"a":"' + b" " * before + b'","b":"' + b"x" * (2 * module._STRETCH) + b'"}'
        assert len(Aside(data).rest) < before + 600


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b"1" * 50_000 + b"]",  # a number, not the end of a text
        b'{"a":"' + b"x" * 50_000 + b'\\""}',  # nor is what goes on behind an escape
        b'{"a":"' + b"word " * 10_000 + b'"}',
        b"",
    ],
)
def test_anything_else_stays(data: bytes) -> None:
    aside = Aside(data)
    assert not aside
    assert aside.rest is data


def test_what_is_no_picture_counts_as_text() -> None:
    aside = Aside(json.dumps({"a": LONG, "b": LONG[1:] + "A"}).encode())
    texts = list(json.loads(bytes(aside.rest)).values())
    assert [aside.whole(text) for text in texts] == [LONG, LONG[1:] + "A"]
    assert aside.size(()) > 2 * len(LONG)
    assert len(LONG) < aside.size(texts[:1]) < len(LONG) + 1000
    assert aside.size(texts) == len(aside.rest) < 1000


def test_more_text_than_any_context_holds_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(Refusal) as refused:
        bodies.read(routes()[PATHS[0]], b'{"messages": ' + b" " * TEXT_BYTES, bodies.Terms())
    assert (refused.value.status, refused.value.message) == (
        413,
        "The text of the request is larger than 16 MiB.",
    )


async def test_a_long_run_that_is_no_picture_is_refused_as_text(gateway: Open) -> None:
    message = {"role": "user", "content": "a" * (TEXT_BYTES + 1)}
    body = io.BytesIO(json.dumps({"messages": [message]}).encode())
    head = {"Content-Type": "application/json"}
    async with gateway() as running:
        url = running.url + PATHS[0]
        async with running.http.post(url, data=body, headers=head) as reply:
            text = await reply.text()
    assert reply.status == 413, text
    assert "The text of the request is larger than 16 MiB." in text
