"""Answers that no server should give: 25 kinds, each made anew from dice."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

ESCAPES: Final = (
    "\x1b[2J\x1b[H\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x07\x1bP1$r\x1b\\\x9b31m\x08\x08\r\x07\x00"
    "\u202e\u2066[@click=app.quit]x[/] [red]y[/red] \x7f"
)
FLOOD: Final = 10_000
SSE: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
_END: Final = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
_NUMBERS: Final[tuple[Any, ...]] = (
    -1,
    0,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    10**30,
    "7",
    None,
    [],
    {},
    True,
)
_VALUES: Final[tuple[Any, ...]] = (*_NUMBERS, "", "x", ESCAPES, [[]], {"a": {}}, ["x", 1], "\ud800")


@dataclass(frozen=True)
class HostileStream:
    """What is sent after a request: `pieces`, `pause_s` between two; `reset`: then an RST."""

    kind: str
    pieces: tuple[bytes, ...]
    pause_s: float = 0.0
    reset: bool = False


def event(record: Any) -> bytes:
    """Return a server-sent event of a record; a text is taken as it is."""
    text = record if isinstance(record, str) else json.dumps(record)
    return b"data: " + text.encode("utf-8", "surrogatepass") + b"\n\n"


def delta(**fields: Any) -> dict[str, Any]:
    """Return a chunk of an answer."""
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def stream(*records: Any, head: bytes = SSE, done: bool = True) -> bytes:
    """Return a whole reply: head, events, end."""
    body = b"".join(each if isinstance(each, bytes) else event(each) for each in records)
    return head + b"Connection: close\r\n\r\n" + body + (b"data: [DONE]\n\n" if done else b"")


def _call(**fields: Any) -> dict[str, Any]:
    return delta(tool_calls=[fields])


def _whole(dice: random.Random) -> bytes:
    """Return a decent answer, to be spoiled."""
    usage = {"prompt_tokens": 9, "completion_tokens": 4}
    words = [delta(content=f"word{dice.randrange(99)} \N{SNOWMAN} ") for _ in range(6)]
    progress = {"choices": [], "prompt_progress": {"processed": 1, "total": 2, "cache": 0}}
    return stream(progress, delta(reasoning_content="hm "), *words, _END, {"usage": usage})


def _wrong_json(dice: random.Random) -> HostileStream:
    wrong = ("{", '{"choices": [', "null", "[]", '"x"', "\\", "{'a': 1}", '{"choices": 5}', "NaN")
    records = [dice.choice([*wrong, delta(content="fine ")]) for _ in range(30)]
    return HostileStream("wrong JSON", (stream(*records, done=dice.random() < 0.5),))


def _split_utf8(dice: random.Random) -> HostileStream:
    body = stream(delta(content="é€😀👩‍👩‍👧‍👦" * dice.randrange(1, 9)), _END)
    body = body.replace(b"\\u00e9", "é".encode()).replace(b"\\u20ac", "€".encode())
    if dice.random() < 0.5:
        body += event('{"choices":[{"delta":{"content":"')[:-2] + b"\xe2\x82"
    return HostileStream("split UTF-8", tuple(body[at : at + 1] for at in range(len(body))))


def _surrogates(dice: random.Random) -> HostileStream:
    halves = ["\ud83d", "\ude00", "x\ud83d", "\ude00y", "\udfff\ud800", "\ud83d\ude00"]
    names = ("content", "reasoning_content")
    records = [delta(**{dice.choice(names): dice.choice(halves)}) for _ in range(20)]
    call = _call(index=0, id="\ud800", function={"name": "\udc00", "arguments": "\ud83d"})
    return HostileStream("lone surrogates", (stream(*records, call, _END),))


def _giant(dice: random.Random) -> HostileStream:
    size = dice.choice((1 << 20, 3 << 20, 5 << 20))
    text = dice.choice(("x", "word ", "- item\n", "| a | b |\n", "> ", "[", "`", "é")) * size
    field = dice.choice(("content", "reasoning_content"))
    return HostileStream("a giant delta", (stream(delta(**{field: text[:size]}), _END),))


def _calls(dice: random.Random) -> HostileStream:
    records = [
        _call(
            index=dice.choice((0, 0, 1, -1, 10**12, "x", None)),
            id=dice.choice(("c1", "", ESCAPES, None)),
            function={"name": dice.choice(("zoom", "", ESCAPES)), "arguments": "x" * 50},
        )
        for _ in range(FLOOD)
    ]
    return HostileStream("endless tool calls", (stream(*records, done=False),))


def _figures(dice: random.Random) -> HostileStream:
    def wild(*names: str) -> dict[str, Any]:
        return {name: dice.choice(_NUMBERS) for name in names}

    usage = wild("prompt_tokens", "completion_tokens", "prompt_tokens_details")
    timings = wild("prompt_n", "prompt_ms", "predicted_n", "predicted_per_second", "draft_n")
    progress = wild("processed", "total", "cache", "time_ms")
    records = [
        {"choices": [], "prompt_progress": progress},
        {"choices": [], "usage": usage, "timings": timings},
        delta(content="text "),
        {**_END, "usage": usage, "timings": timings},
    ]
    return HostileStream("wild figures", (stream(*records),))


def _empty(dice: random.Random) -> HostileStream:
    empty: Any = dice.choice((delta(), delta(content=""), {"choices": []}, {}, ": ping"))
    data = b": ping\n\n" if empty == ": ping" else event(empty)
    return HostileStream("10,000 empty deltas", (stream(data * FLOOD, _END),))


def _order(dice: random.Random) -> HostileStream:
    indexes = [3, 1, 0, 2, -1, "0", None, 10**9]
    dice.shuffle(indexes)
    records = [
        {"choices": [{"index": index, "delta": {"content": f"c{index} "}}]} for index in indexes
    ]
    both = {"choices": [{"index": 1, "delta": {"content": "b"}}, {"delta": {"content": "a"}}]}
    return HostileStream("choices out of order", (stream(*records, both, _END),))


def _html(dice: random.Random) -> HostileStream:
    page = f"<!doctype html><html><body>{ESCAPES}{'<p>' * dice.randrange(1, 5000)}</html>"
    kind = dice.choice((b"text/html", b"text/event-stream", b"application/json", b"image/png"))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n"
    return HostileStream("HTML", (stream(page.encode(), head=head, done=False),))


def _half_head(dice: random.Random) -> HostileStream:
    whole = _whole(dice)
    cut = dice.randrange(0, whole.index(b"\r\n\r\n") + 4)
    return HostileStream("half a head", (whole[:cut],), reset=dice.random() < 0.5)


def _drip(dice: random.Random) -> HostileStream:
    body = _whole(dice)
    return HostileStream(
        "a slow drip", tuple(body[at : at + 3] for at in range(0, len(body), 3)), 0.003
    )


def _reset(dice: random.Random) -> HostileStream:
    body = _whole(dice)
    cut = dice.randrange(len(body))
    return HostileStream("a reset", (body[:cut],), pause_s=0.02, reset=True)


def _ends(dice: random.Random) -> HostileStream:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    records: list[Any] = [usage, delta(content="a "), _END, _END, delta(content="b "), usage, _END]
    records += ["[DONE]", delta(content="after the end"), {"error": {"message": "late"}}]
    dice.shuffle(records)
    return HostileStream("ends out of order", (stream(*records),))


def _escapes(dice: random.Random) -> HostileStream:
    parts = [ESCAPES[at : at + dice.randrange(1, 5)] for at in range(0, len(ESCAPES), 3)]
    records = [delta(**{dice.choice(("content", "reasoning_content")): part}) for part in parts]
    call = _call(index=0, id=ESCAPES, function={"name": ESCAPES, "arguments": ESCAPES})
    end = {"choices": [{"delta": {}, "finish_reason": ESCAPES}], "model": ESCAPES}
    last = dice.choice((end, {"error": {"message": ESCAPES, "code": ESCAPES, "type": ESCAPES}}))
    head = SSE + b"X-Steprun-Reread: \x1b[2J\r\nServer: \x1b]0;x\x07\r\n"
    return HostileStream(
        "escape codes", (stream(*records, call, last, head=dice.choice((head, SSE))),)
    )


def _types(dice: random.Random) -> HostileStream:
    def spoil(value: Any) -> Any:
        if dice.random() < 0.12:
            return dice.choice(_VALUES)
        if isinstance(value, dict):
            return {name: spoil(each) for name, each in value.items()}
        return [spoil(each) for each in value] if isinstance(value, list) else value

    call = _call(index=0, id="c", function={"name": "zoom", "arguments": "{}"})
    good = [delta(content="a "), delta(reasoning_content="b "), call, _END]
    usage = {"choices": [], "usage": {"prompt_tokens": 1}, "timings": {"prompt_n": 1}}
    return HostileStream("wrong types", (stream(*[spoil(each) for each in [*good, usage] * 20]),))


def _framing(dice: random.Random) -> HostileStream:
    text = json.dumps(delta(content="framed ")).encode()
    frames = [
        b"data:" + text + b"\n\n",
        b"data: " + text + b"\r\n\r\n",
        b"data: " + text + b"\r\r",
        b"\xef\xbb\xbfdata: " + text + b"\n\n",
        b"event: message\nid: 7\nretry: 1\ndata: " + text + b"\n\n",
        b"data: " + text[:20] + b"\ndata: " + text[20:] + b"\n\n",
        b'event: error\ndata: {"error": "x"}\n\n',
        b": comment " + b"x" * 5000 + b"\n\n",
        b"data\n\ndata:\n\n\n\n\n",
        text + b"\n",
    ]
    dice.shuffle(frames)
    return HostileStream("odd framing", (stream(*frames, _END),))


def _status(dice: random.Random) -> HostileStream:
    code = dice.choice((400, 401, 403, 404, 413, 429, 500, 502, 503, 529, 204, 999, 101))
    bodies: list[Any] = [
        {"error": {"message": ESCAPES * 100, "type": ESCAPES}},
        {"error": ESCAPES},
        {"detail": [{"msg": ESCAPES, "loc": [[]]}]},
        [1] * 1000,
        "x" * 100_000,
        None,
    ]
    body = json.dumps(dice.choice(bodies)).encode()
    head = f"HTTP/1.1 {code} {'x' * dice.randrange(50)}\r\nRetry-After: 1e99\r\n".encode()
    return HostileStream(f"status {code}", (stream(body, head=head, done=False),))


def _chunked(dice: random.Random) -> HostileStream:
    data = event(delta(content="chunk "))
    good = f"{len(data):x}\r\n".encode() + data + b"\r\n"
    wrong = dice.choice(
        (b"zz\r\n", b"-5\r\n", b"ffffffffffffffffff\r\n", b"5\r\nab", b"0\r\n\r\nmore")
    )
    head = SSE + b"Transfer-Encoding: chunked\r\n\r\n"
    return HostileStream("wrong chunks", (head + good * 3 + wrong + good,))


def _zipped(dice: random.Random) -> HostileStream:
    body = gzip.compress(event(delta(content="x" * (8 << 20))), mtime=0)
    body = dice.choice((body, body[: len(body) // 2], b"\x1f\x8b" + dice.randbytes(200)))
    return HostileStream(
        "gzip", (stream(body, head=SSE + b"Content-Encoding: gzip\r\n", done=False),)
    )


def _redirect(dice: random.Random) -> HostileStream:
    to = dice.choice(
        ("http://127.0.0.1:1/", "//", "file:///etc/passwd", ESCAPES.encode().hex(), "")
    )
    head = f"HTTP/1.1 {dice.choice((301, 302, 307, 308))} x\r\nLocation: {to}\r\n"
    return HostileStream("a redirect", (stream(head=head.encode(), done=False),))


def _nested(dice: random.Random) -> HostileStream:
    depth = dice.choice((900, 100_000))
    opened = dice.choice(("[", '{"a":', '{"choices":['))
    records = [opened * depth, '{"choices": [{"delta": ' + "[" * depth + "]" * depth + "}]}"]
    return HostileStream("deep JSON", (stream(*records, delta(content="x"), _END),))


def _tags(dice: random.Random) -> HostileStream:
    tags = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<function=zoom>", "</function>")
    more = (
        "<parameter=x>",
        "</parameter>",
        '{"name": "zoom"}',
        "\n",
        "words ",
        "<",
        "</thi",
        "nk>",
    )
    records = [delta(content=dice.choice((*tags, *more))) for _ in range(300)]
    return HostileStream("tags of templates", (stream(*records, _END),))


def _long_names(dice: random.Random) -> HostileStream:
    long = "x" * dice.choice((100_000, 2 << 20))
    end = {"choices": [{"delta": {}, "finish_reason": long}], "id": long, "model": long}
    call = _call(index=0, id=long, function={"name": long, "arguments": long})
    head = SSE + b"X-Long: " + b"y" * dice.choice((1000, 60_000)) + b"\r\n"
    return HostileStream("long names", (stream(call, delta(content="a"), end, head=head),))


def _markdown(dice: random.Random) -> HostileStream:
    texts = (
        *("*" * 3000, "[" * 20_000, "> " * 300 + "x", "- " * 300 + "x", "`" * 5000),
        "|".join("x" * 2000) + "\n" + "|".join("-" * 2000),
        *(
            "x" * 200_000,
            "\n" * 20_000,
            "# " * 500,
            "$$" + "\\frac{" * 2000,
            "```\n" + "x\n" * 3000,
        ),
        *("a\u0301" * 5000, "\u200d" * 5000, "<div>" * 2000, "![x](" * 3000, "1. x\n" * 2000),
    )
    text = "".join(dice.sample(texts, 3))
    size = dice.choice((7, 500, 10_000))
    size = max(size, len(text) // 2000)
    pieces = [delta(content=text[at : at + size]) for at in range(0, len(text), size)]
    return HostileStream("hostile Markdown", (stream(*pieces, _END),))


def _silence(dice: random.Random) -> HostileStream:
    return HostileStream(
        "no answer", (dice.choice((b"", b"\n", b"\r\n\r\n", b"HTTP/1.1", b"\x16\x03\x01\x00")),)
    )


KINDS: Final[tuple[Callable[[random.Random], HostileStream], ...]] = (
    *(_wrong_json, _split_utf8, _surrogates, _giant, _calls, _figures, _empty, _order, _html),
    *(_half_head, _drip, _reset, _ends, _escapes, _types, _framing, _status, _chunked, _zipped),
    *(_redirect, _nested, _tags, _long_names, _markdown, _silence),
)


def hostile_streams(count: int, dice: random.Random) -> Iterator[HostileStream]:
    """Yield so many streams, of each kind in turn."""
    for number in range(count):
        yield KINDS[number % len(KINDS)](random.Random(dice.random()))  # noqa: S311 - chance
