"""A line of the request log, from the end of an answer as the engine (b11549) writes it."""

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runner.gateway.activity import CLIENT_GONE, TAIL_BYTES, Activity, Entry, program_of
from runner.gateway.calls import EngineCall
from runner.gateway.clients.outbox import Held
from runner.gateway.clients.reply import ClientGone, Reply
from runner.gateway.refusal import Api, Refusal
from runner.gateway.watching.account import GONE, Account, account_of, last_object

TIMINGS = {
    "cache_n": 22,
    "prompt_n": 5,
    "prompt_ms": 9.513,
    "predicted_n": 13,
    "predicted_ms": 969.203,
    "predicted_per_second": 12.381307,
}
OPENAI_USAGE = {
    "completion_tokens": 13,
    "prompt_tokens": 27,
    "total_tokens": 40,
    "prompt_tokens_details": {"cached_tokens": 22},
}
RESPONSES_USAGE = {
    "input_tokens": 27,
    "output_tokens": 13,
    "total_tokens": 40,
    "input_tokens_details": {"cached_tokens": 22},
}
ANTHROPIC_USAGE = {"cache_read_input_tokens": 22, "input_tokens": 5, "output_tokens": 13}


def event(document: dict[str, Any], name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(document, separators=(',', ':'))}\n\n".encode()


def ended(
    pieces: list[bytes],
    *,
    stream: bool = True,
    status: int = 200,
    ahead: tuple[int, float] = (0, 0),
) -> Account:
    entry = Entry(1, "claude-cli", Api.OPENAI, "/v1/chat/completions", 10.0)
    entry.generates, entry.stream, entry.status = True, stream, status
    entry.began = 10.25
    entry.ahead, entry.ahead_s = ahead
    for piece in pieces:
        entry.passes(piece)
    if entry.first_byte:
        entry.first_byte = 11.0
    entry.ended = 12.0
    return account_of(entry, 1_000_000_000.0)


OPENAI_STREAM = [
    event({"choices": [{"delta": {"content": '"timings":{"prompt_n":9},"usage":{"x":1}'}}]}),
    event({"choices": [{"delta": {}, "finish_reason": "stop"}], "timings": TIMINGS}),
    b"data: [DONE]\n\n",
]


def test_a_stream_of_openai_has_the_engine_s_own_figures() -> None:
    account = ended(OPENAI_STREAM)
    assert account.time == "2001-09-09T01:46:38.000+00:00"
    assert (account.client, account.api, account.status) == ("claude-cli", "openai", 200)
    assert (account.prompt_tokens, account.cached_tokens, account.restored_tokens) == (27, 22, 0)
    assert (account.read_s, account.first_token_s, account.waited_s) == (0.0095, 1.0, 0.25)
    assert (account.tokens, account.tokens_per_s) == (13, 12.38)
    assert (account.drafted, account.accepted, account.reread_because) == (0, 0, None)
    assert account.total_s == 2.0


@pytest.mark.parametrize(
    ("pieces", "stream"),
    [
        ([json.dumps({"choices": [], "usage": OPENAI_USAGE}).encode()], False),
        ([json.dumps({"output": [], "usage": RESPONSES_USAGE}).encode()], False),
        ([json.dumps({"content": [], "usage": ANTHROPIC_USAGE}).encode()], False),
        ([event({"response": {"output": [], "usage": RESPONSES_USAGE}})], True),
        (
            [
                event(
                    {"message": {"usage": {**ANTHROPIC_USAGE, "output_tokens": 0}}}, "message_start"
                ),
                event({"delta": {}, "usage": {"output_tokens": 13}}, "message_delta"),
            ],
            True,
        ),
    ],
)
def test_without_timings_the_usage_of_each_api_tells(pieces: list[bytes], stream: bool) -> None:
    account = ended(pieces, stream=stream)
    assert (account.prompt_tokens, account.cached_tokens, account.tokens) == (27, 22, 13)
    assert account.tokens_per_s == (12.0 if stream else None)  # 12 tokens after the first in 1 s
    assert account.read_s == (0.75 if stream else None)
    assert account.drafted is None


def test_what_was_read_ahead_of_the_rest_was_read() -> None:
    account = ended(OPENAI_STREAM, ahead=(20, 0.2))
    assert (account.prompt_tokens, account.cached_tokens) == (27, 2)
    assert (account.read_s, account.waited_s) == (0.2095, 0.05)
    assert ended(OPENAI_STREAM, ahead=(24, 0.2)).cached_tokens == 0


def test_drafts_are_counted() -> None:
    account = ended([event({"timings": {**TIMINGS, "draft_n": 10, "draft_n_accepted": 7}})])
    assert (account.drafted, account.accepted) == (10, 7)


def test_an_answer_that_was_broken_off_has_no_figures_of_its_end() -> None:
    account = ended([event({"choices": [{"delta": {"content": "a"}}]})], status=CLIENT_GONE)
    assert (account.status, account.tokens, account.prompt_tokens) == (499, None, None)
    assert account.first_token_s == 1.0


@pytest.mark.parametrize(
    "data",
    [
        b'"usage":',
        b'"usage": [1]',
        b'"usage": {"prompt_tokens": -1, "completion_tokens": true}',
        b'"usage": {"prompt_tokens": 1e99, "prompt_tokens_details": 7}',
        b'"timings": {"prompt_n": "x", "predicted_per_second": null}',
        b'"timings":' + b"[" * 100_000,
        b'"usage":' + b'{"a":' * 20_000,
        b"\xff\xfe",
    ],
    ids=range(8),
)
def test_a_strange_end_is_no_account(data: bytes) -> None:
    account = ended([data])
    assert (account.prompt_tokens, account.tokens, account.cached_tokens) == (None, None, None)


def test_what_was_refused_has_its_status_and_no_figures() -> None:
    entry = Entry(1, "", Api.ANTHROPIC, "", 10.0, status=401, ended=10.5)
    account = account_of(entry, 1_000_000_000.0)
    assert (account.status, account.api, account.total_s) == (401, "anthropic", 0.5)
    assert account.waited_s is None


def test_only_the_ends_of_an_answer_are_kept() -> None:
    entry = Entry(1, "", Api.OPENAI, "", 0.0)
    for number in range(5000):
        entry.passes(b"data: %d\n\n" % number)
    assert entry.head.startswith(b"data: 0\n")
    assert entry.tail.endswith(b"data: 4999\n\n")
    assert TAIL_BYTES <= len(entry.tail) <= 2 * TAIL_BYTES
    assert len(entry.head) == 2048


@pytest.mark.parametrize(
    "piece",
    [
        b": ping\n\n",
        b"event: ping\ndata: {}\n\n",
        b"\n",
        event({"choices": [{"delta": {"role": "assistant"}}], "prompt_progress": {"total": 9}}),
    ],
)
def test_what_is_sent_while_a_prompt_is_read_is_no_token(piece: bytes) -> None:
    entry = Entry(1, "", Api.OPENAI, "", 0.0)
    entry.begin()
    entry.passes(piece)
    stages = [str(entry.stage)]
    entry.passes(event({"choices": [{"delta": {"content": "a"}}]}))
    assert [*stages, str(entry.stage)] == ["reading", "writing"]


def test_a_client_that_goes_away_is_told_apart() -> None:
    over: list[Entry] = []
    activity = Activity(over.append)
    with pytest.raises(ConnectionResetError), activity.request("x", Api.OPENAI, "/v1/x"):
        raise ConnectionResetError
    assert [each.status for each in over] == [CLIENT_GONE]
    assert not activity.running


@pytest.mark.parametrize(
    ("agent", "program"),
    [
        ("OpenAI/Python 2.8.1", "openai-python"),
        ("Anthropic/JS 0.60.0", "anthropic-js"),
        ("claude-cli/2.1.197 (external, cli)", "claude-cli"),
        ("curl/8.5.0", "curl"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla"),
        ("http://evil.example/\x1b[31m", ""),
        ("x" * 200, ""),
        ("", ""),
    ],
)
def test_a_program_says_who_it_is(agent: str, program: str) -> None:
    assert program_of({"User-Agent": agent}) == program


def test_the_last_object_is_found_and_no_string_is_taken_for_it() -> None:
    text = rb'{"usage":{"a":1},"text":"\"usage\":{\"a\":2}"}'
    assert last_object(text, b'"usage":') == {"a": 1}


async def test_a_client_that_hangs_up_once_it_has_all_is_served() -> None:
    """Most clients close their connection at the answer's last byte."""
    over: list[Entry] = []
    activity = Activity(over.append)

    class Gone:
        writing_paused = False

        async def write(self, *_: object, **__: object) -> None:
            raise ConnectionResetError

        write_eof = drain = write

    for ends in (True, False):
        with suppress(ClientGone), activity.request("", Api.OPENAI, "") as entry:
            entry.status = 200
            request: Any = SimpleNamespace(writer=Gone(), protocol=Gone(), method="POST")
            async with Reply(request, EngineCall("POST", "/"), entry, Held()) as reply:
                reply._response = cast("Any", Gone())
                await (reply.end() if ends else reply.refuse(Refusal(503, "It stops.")))
    assert [each.status for each in over] == [200, CLIENT_GONE]


READ_AGAIN = {"cache_n": 10, "prompt_n": 5990, "prompt_ms": 12_000.0, "predicted_n": 3}
KEPT = {"cache_n": 5900, "prompt_n": 100, "prompt_ms": 900.0, "predicted_n": 3}


@pytest.mark.parametrize(
    ("timings", "known", "reread", "because"),
    [
        (READ_AGAIN, 0.0, "", None),  # all of it is new
        (READ_AGAIN, 0.1, "", None),  # a small part was known
        (READ_AGAIN, 0.9, "", GONE),
        (READ_AGAIN, 0.9, "tools changed: a was added", "tools changed: a was added"),
        (KEPT, 1.0, "tools changed: a was added", None),  # the cache had it all the same
    ],
)
def test_a_re_reading_is_one_only_where_the_engine_did_read(
    timings: dict[str, Any], known: float, reread: str, because: str | None
) -> None:
    entry = Entry(1, "", Api.OPENAI, "/v1/chat/completions", 10.0)
    entry.generates, entry.status, entry.began, entry.ended = True, 200, 10.0, 12.0
    entry.known, entry.reread, entry.restored = known, reread, 5000
    entry.passes(json.dumps({"timings": timings}).encode())
    account = account_of(entry, 1_000_000_000.0)
    assert account.reread_because == because
    assert account.restored_tokens == min(5000, timings["cache_n"])


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ('data: {"choices": []}\n\ndata: [DONE]\n\n', 200),
        ('event: message_stop\ndata: {"type": "message_stop"}\n\n', 200),
        ('event: response.completed\ndata: {"type": "response.completed"}\n\n', 200),
        ('data: {"choices": [{"delta": {"content": "\\ndata: [DONE]"}}]}\n\n', CLIENT_GONE),
    ],
)
def test_who_hangs_up_behind_the_last_event_has_the_whole_answer(last: str, status: int) -> None:
    over: list[Entry] = []
    activity = Activity(over.append)
    with suppress(ConnectionError), activity.request("a", Api.OPENAI, "/v1/chat") as entry:
        entry.status = 200
        entry.passes(b'data: {"choices": []}\n\n')
        entry.passes(last.encode())
        raise ConnectionError
    assert [each.status for each in over] == [status]
