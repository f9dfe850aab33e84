"""Which answers repeat themselves without end, and which only look so."""

import base64
import json
import random
from collections.abc import Iterable, Iterator
from itertools import chain, count, cycle, islice, repeat
from pathlib import Path

import pytest

from runner.gateway.trouble.repetition import (
    BLANK_TOKENS,
    REPEATS,
    TOKENS,
    Loop,
    Repetition,
)

ROOT = Path(__file__).resolve().parents[4]
EVENTS = {
    "chat": '{"choices":[{"finish_reason":null,"index":0,"delta":{"content":%s}}],"created":%d}',
    "thinking": '{"choices":[{"index":0,"delta":{"reasoning_content":%s}}],"created":%d}',
    "call": '{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":%s}}]}}],"n":%d}',
    "completion": '{"choices":[{"text":%s,"index":0,"logprobs":null}],"created":%d}',
    "native": '{"index":0,"content":%s,"tokens":[17],"stop":false,"tokens_predicted":%d}',
    "messages": '{"type":"content_block_delta","delta":{"type":"text_delta","text":%s},"n":%d}',
    "messages thinking": '{"delta":{"type":"thinking_delta","thinking":%s},"n":%d}',
    "messages call": '{"delta":{"type":"input_json_delta","partial_json":%s},"n":%d}',
    "responses": '{"type":"response.output_text.delta","delta":%s,"sequence_number":%d}',
}


def followed(tokens: Iterable[str], event: str = "chat", most: int = 100_000) -> tuple[int, Loop]:
    """Return after how many tokens an answer is ended, and why; 0 for never."""
    repetition, shape = Repetition(), EVENTS[event]
    for number, token in enumerate(islice(tokens, most), 1):
        data = f"data: {shape % (json.dumps(token, ensure_ascii=False), number)}\n\n".encode()
        if loop := repetition.feed(data):
            return number, loop
    return 0, Loop(0, 0)


def words(seed: int) -> Iterator[str]:
    chance = random.Random(seed)
    known = (ROOT / "README.md").read_text().split(" ")
    while True:
        yield f" {chance.choice(known)}"


@pytest.mark.parametrize("event", EVENTS)
def test_one_character_without_end_is_seen_in_each_api(event: str) -> None:
    tokens, loop = followed(chain(islice(words(1), 3000), repeat("<")), event)
    assert 3000 + TOKENS < tokens < 3000 + TOKENS + 4000
    assert loop.part == 1


@pytest.mark.parametrize("length", [2, 7, 40, 300, 700])
def test_a_part_of_any_length_is_seen(length: int) -> None:
    part = list(islice(words(length), length))
    tokens, loop = followed(chain(islice(words(0), 500), cycle(part)))
    assert 500 + max(TOKENS, REPEATS * length) <= tokens
    assert tokens < 500 + max(TOKENS, REPEATS * length) + 3000
    assert loop.part == len(json.dumps("".join(part), ensure_ascii=False).encode()) - 2


def test_a_part_that_repeats_something_within_itself_is_seen() -> None:
    row = ["    "] * 400 + ["x", "\n"]
    assert followed(cycle(row))[1].part == len(r"    " * 400 + r"x\n")


def test_white_space_in_any_order_is_seen_sooner() -> None:
    chance = random.Random(1)
    blank = (chance.choice([" ", "\n", "\t", "    ", " \n"]) for _ in count())
    tokens, loop = followed(chain(islice(words(1), 300), blank))
    assert 300 + BLANK_TOKENS <= tokens < 300 + BLANK_TOKENS + 1000
    assert loop.part == 0
    assert "white space" in loop.in_words()


def cut(text: str, size: int = 3) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))


def table() -> str:
    return "".join(f"| {row} | 0 | 0 | 0 | 0 | 0 | 0 | 0 |\n" for row in range(3000))


def drawing() -> str:
    """Return a picture in characters: 200 lines that are mostly alike."""
    return "\n".join("#" * 78 if row % 50 == 0 else f"#{' ' * 76}#" for row in range(200))


def program() -> str:
    return "".join(
        f"    assert parse('') == []\n    assert case[{n}] == 0\n\n" for n in range(2000)
    )


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{row},{','.join('0' * 50)}\n" for row in range(2000)),
        f"{'0,' * 3000}\n",
        "\n".join(",".join("0" * 28) for _ in range(100)),
        base64.b64encode(bytes(8000)).decode(),
        base64.b64encode(random.Random(1).randbytes(60_000)).decode(),
        table(),
        drawing(),
        program(),
        "".join(random.Random(2).choices("01", k=60_000)),
        "\n".join(f"{n}. The same sentence, word for word." for n in range(5000)),
        "def f():\n" + "    x += 1\n" * 500,
        f"before{chr(10) * 900}after",
        "-" * 20_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_repeats_much_and_has_an_end_is_let_be(text: str) -> None:
    assert followed(chain(words_before(), cut(text), islice(words(3), 300)))[0] == 0


def words_before() -> Iterator[str]:
    return islice(words(2), 200)


def test_real_texts_are_let_be() -> None:
    texts = [*ROOT.glob("runner/**/*.py"), *ROOT.glob("docs/*.md"), *ROOT.glob("*.toml")]
    for path in sorted(texts):
        assert followed(cut(path.read_text(), 16))[0] == 0, path


def test_names_within_a_text_are_no_tokens() -> None:
    """A model that writes about an API: its quotation marks are escaped."""
    repetition = Repetition(16)
    data = json.dumps({"delta": {"content": '{"content":"<"}'}}).encode()
    assert repetition.feed(data + b"\n\n") is None
    assert repetition._tail == rb"{\"content\":\"<\"}"


@pytest.mark.parametrize("size", [1, 7, 100, 5000])
def test_pieces_of_a_stream_may_be_cut_anywhere(size: int) -> None:
    stream = b"".join(b'data: {"delta":{"content":"<"}}\n\n' for _ in range(12_000))
    repetition = Repetition()
    ended = [repetition.feed(stream[at : at + size]) for at in range(0, len(stream), size)]
    assert any(ended)


def test_what_is_no_stream_costs_no_memory() -> None:
    repetition = Repetition()
    for _ in range(100):
        assert repetition.feed(b"x" * 50_000) is None
    assert len(repetition._raw) < 1 << 17
