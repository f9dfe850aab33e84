"""Prompts are read once: through a real gateway and the embedded engine, by its own account."""

import base64
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.engine.conftest import Served, serve

pytestmark = pytest.mark.engine

SIDE = 64  # of a picture, in pixels
LITTLE = 64  # tokens: a short question, and what the template puts around it
Messages = list[dict[str, Any]]


def lines(word: str, count: int) -> str:
    return "\n".join(f"{word} {number}: it is {number * 37 % 1000}." for number in range(count))


SYSTEM = {"role": "system", "content": lines("rule", 30)}


def asked(word: str) -> Messages:
    return [SYSTEM, {"role": "user", "content": lines(word, 30)}]


def then(messages: Messages, question: str) -> Messages:
    answer = {"role": "assistant", "content": "It is so."}
    return [*messages, answer, {"role": "user", "content": question}]


def png(shade: int) -> str:
    """Return a grey picture as a data URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress((b"\0" + bytes([shade]) * SIDE) * SIDE))
    data = b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def shown(shade: int, text: str) -> dict[str, Any]:
    url = {"url": png(shade)}
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": url}]
    return {"role": "user", "content": parts}


class Talk:
    """Asks a gateway; `read` and `cached` are of the last answer."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.read = self.cached = 0

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = httpx2.post(self.served.url + path, json=body, timeout=120)
        assert reply.status_code == 200, reply.text
        document: dict[str, Any] = reply.json()
        return document

    def chat(self, messages: Messages, **more: Any) -> str:
        body = {"messages": messages, "max_tokens": 8, "temperature": 0, **more}
        answer = self._post("/v1/chat/completions", body)
        self.read, self.cached = answer["timings"]["prompt_n"], answer["timings"]["cache_n"]
        message = answer["choices"][0]["message"]
        return f"{message.get('reasoning_content')}|{message['content']}"

    def messages(self, messages: Messages) -> None:
        body: dict[str, Any] = {"messages": messages, "max_tokens": 8, "temperature": 0}
        if messages[0]["role"] == "system":
            body |= {"system": messages[0]["content"], "messages": messages[1:]}
        usage = self._post("/v1/messages", body)["usage"]
        self.read, self.cached = usage["input_tokens"], usage["cache_read_input_tokens"]

    def responses(self, messages: Messages) -> None:
        body = {"input": messages[1:], "instructions": messages[0]["content"]}
        usage = self._post("/v1/responses", {**body, "max_output_tokens": 8})["usage"]
        self.cached = usage["input_tokens_details"]["cached_tokens"]
        self.read = usage["input_tokens"] - self.cached


@pytest.fixture(scope="module")
def talk(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    home, model = tmp_path_factory.mktemp("home"), str(tiny / "tiny-step.gguf")
    with serve(home, "--model", model, "--ctx", "16384", "--kv-disk", "1GB") as served:
        yield Talk(served)


def test_side_requests_cost_a_conversation_nothing(talk: Talk) -> None:
    turn = asked("first")
    talk.chat(turn)
    for title, ask in (
        ("A title for this", talk.chat),
        ("Another title, please", talk.messages),
        ("A summary in three words", talk.messages),
    ):
        turn = then(turn, f"And before {title}?")
        talk.chat(turn)
        assert talk.read < LITTLE
        ask([{"role": "user", "content": title}])
        turn = then(turn, f"And after {title}?")
        talk.messages(turn)
        assert talk.read < LITTLE
    talk.responses(then(turn, "And now?"))
    assert talk.read < LITTLE


def test_two_agents_take_turns(talk: Talk) -> None:
    ours, theirs, third = asked("ours"), asked("theirs"), asked("third")
    for messages in (ours, theirs, third):
        talk.chat(messages)
    assert talk.cached > 300  # the same system prompt, read by the others
    for number in range(2):
        ours, theirs = then(ours, f"Ours {number}?"), then(theirs, f"Theirs {number}?")
        talk.messages(ours)
        assert talk.read < LITTLE
        talk.chat(theirs)
        assert talk.read < LITTLE


def test_a_branch_and_an_edited_turn_go_back_to_where_it_was_the_same(talk: Talk) -> None:
    turn = then(asked("branched"), "What then?")
    first = talk.chat(turn)
    assert talk.chat(turn) == first
    assert talk.read < LITTLE
    talk.chat([*turn[:-1], {"role": "user", "content": "What else?"}])
    assert talk.read < LITTLE
    talk.chat(then(turn, "Go on."))
    assert talk.read < 2 * LITTLE


@pytest.mark.parametrize("heads", ["", "tiny-step-mtp.gguf"], ids=["plain", "draft heads"])
def test_after_a_restart_nothing_is_read_again(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory, heads: str
) -> None:
    home = tmp_path_factory.mktemp("home")
    line = ["--model", str(tiny / "tiny-step-trunk.gguf"), "--ctx", "16384", "--kv-disk", "1GB"]
    if heads:
        line += ["--mtp", str(tiny / heads)]
    first = [SYSTEM, shown(200, lines("seen", 3))]
    second = [*first, {"role": "assistant", "content": "So."}, shown(9, "And this one?")]
    third = then(second, "Compare them.")
    with serve(home, *line) as served:
        Talk(served).chat(second)
    with serve(home, *line) as served:
        talk = Talk(served)
        restored = talk.chat(third)
        assert talk.read < LITTLE
        assert talk.chat(third, cache_prompt=False) == restored
        talk.chat(then([SYSTEM, shown(90, lines("seen", 3))], "And what is this?"))
        assert talk.cached < 500  # of another picture, nothing beyond the system prompt


@pytest.mark.parametrize("what", ["a picture", "a document"])
def test_another_question_about_the_same_reads_the_question_only(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory, what: str
) -> None:
    home = tmp_path_factory.mktemp("home")
    line = ["--model", str(tiny / "tiny-step-trunk.gguf"), "--ctx", "16384", "--kv-disk", "1GB"]

    def about(question: str) -> Messages:
        if what == "a document":
            return [{"role": "user", "content": f"{lines('fact', 150)}\n{question}"}]
        parts = shown(200, "")["content"][1:]
        return [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]

    with serve(home, *line) as served:
        talk = Talk(served)
        talk.chat(about("What is it about?"))
        talk.chat(about("Who made it?"))
        assert talk.read < LITTLE
    with serve(home, *line) as served:
        talk = Talk(served)
        for question in ("When was it made?", "And where?"):
            restored = talk.chat(about(question))
            assert talk.read < LITTLE
        assert talk.chat(about(question), cache_prompt=False) == restored


@pytest.mark.parametrize("slots", [2, 3])
def test_conversations_at_once_lose_no_cache_that_fits(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory, slots: int
) -> None:
    home, model = tmp_path_factory.mktemp("home"), str(tiny / "tiny-step-trunk.gguf")
    line = ["--model", model, "--ctx", "16384", "--parallel", str(slots), "--kv-disk", "off"]
    with serve(home, *line) as served, ThreadPoolExecutor(slots) as threads:
        talks = [Talk(served) for _ in range(slots)]
        turns = [asked(f"part {number}") for number in range(slots)]
        for talk, turn in zip(talks, turns, strict=True):
            talk.chat(turn)
        for number in range(3):
            turns = [then(turn, f"And {number}?") for turn in turns]
            if number == 1:  # one after the other, in another API
                for talk, turn in zip(talks, turns, strict=True):
                    talk.messages(turn)
            else:
                list(threads.map(Talk.chat, talks, turns))
            assert [talk.read for talk in talks if talk.read >= LITTLE] == []
            Talk(served).chat([{"role": "user", "content": f"A title for {number}"}])


def test_a_context_that_overflows_is_refused_and_costs_no_cache(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home, model = tmp_path_factory.mktemp("home"), str(tiny / "tiny-step-trunk.gguf")
    line = ["--model", model, "--ctx", "2048", "--kv-disk", "1GB"]
    with serve(home, *line) as served:
        talk = Talk(served)
        turn = asked("kept")
        talk.chat(turn)
        turn = then(turn, "And then?")
        too_long = then(turn, lines("more", 200))
        for messages in (too_long, then(turn, f"{lines('more', 200)}\nWhat is it?")):
            reply = httpx2.post(
                f"{served.url}/v1/chat/completions", json={"messages": messages}, timeout=120
            )
            assert reply.status_code == 400
            assert reply.json()["error"]["code"] == "context_length_exceeded"
        talk.chat(turn)
        assert talk.read < LITTLE
        # An answer that fills what is left ends there, and the conversation goes on from its cache.
        body = {"messages": turn, "ignore_eos": True}
        answer = talk._post("/v1/chat/completions", body)
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"]["total_tokens"] == 2048
        talk.chat(then(turn, "Go on."))
        assert talk.read < LITTLE
    with serve(home, *line) as served:
        talk = Talk(served)
        talk.chat(then(turn, "Go on."))
        assert talk.read < LITTLE
