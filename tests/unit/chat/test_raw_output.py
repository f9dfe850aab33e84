"""Thinking and calls out of raw text, however it is cut into pieces."""

import itertools
import json
import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.base.errors import SteprunError
from runner.chat.client import stream
from runner.chat.events import (
    Event,
    Failed,
    Finished,
    Reasoning,
    Text,
    ToolCall,
    Usage,
    WasReasoning,
)
from runner.chat.raw_output import LONGEST_CALL, TAGS, Untagged
from runner.chat.wire import Message, Options
from runner.net.endpoint import Endpoint
from tests.fakes.sse_server import Die, End, FakeServer, Say

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "book",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "nights": {"type": "integer"},
                    "price": {"type": "number"},
                    "quiet": {"type": "boolean"},
                    "guests": {"type": "array"},
                    "extras": {"type": "object"},
                    "until": {"type": ["integer", "null"]},
                    "late": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
                    "code": {"type": ["string", "integer"]},
                },
            },
        },
    },
]


def call(**parameters: str) -> str:
    """Return a call as the model's template writes it."""
    told = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in parameters.items())
    return f"<tool_call>\n<function=book>\n{told}</function>\n</tool_call>"


def events(pieces: Iterable[str], tools: Any = TOOLS) -> list[Event]:
    """Return what an answer in pieces amounts to; neighbours of one kind made one."""
    plain = Untagged(tools)
    out: list[Event] = []
    given: list[Event] = [*(Text(piece) for piece in pieces), Finished()]
    for event in given:
        for told in plain.take(event):
            match out[-1] if out else None, told:
                case Text(before), Text(after):
                    out[-1] = Text(before + after)
                case Reasoning(before), Reasoning(after):
                    out[-1] = Reasoning(before + after)
                case _:
                    out.append(told)
    return out


def arguments(*found: Event) -> list[dict[str, Any]]:
    return [json.loads(event.arguments) for event in found if isinstance(event, ToolCall)]


def test_thinking_then_an_answer() -> None:
    raw = "<think>\nA red square.\n</think>\n\nRed.\n"
    assert events([raw]) == [Reasoning("A red square."), Text("Red.\n"), Finished()]


def test_an_answer_without_thinking_is_left_alone() -> None:
    raw = f"Write <think> first, </think> last, and then {call(city='Rome')}"
    assert events([raw]) == [Text(raw), Finished()]


def test_thinking_that_never_ends_is_thinking() -> None:
    assert events(["<think>\nHm</thi"]) == [Reasoning("Hm</thi"), Finished()]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_text_before_a_lone_tag_was_thinking(size: int) -> None:
    raw = "2+2 is 4.\n</think>\n\n4 </think> so"
    found = events([raw[at : at + size] for at in range(0, len(raw), size)])
    assert found == [Text("2+2 is 4."), WasReasoning(), Text("4 </think> so"), Finished()]


@pytest.mark.parametrize("raw", ["The tag `</think>` ends it.", "First <think>, then </think>."])
def test_an_answer_about_the_tags_is_left_alone(raw: str) -> None:
    assert events(list(raw)) == [Text(raw), Finished()]


@pytest.mark.parametrize(("opened", "ended"), TAGS.items())
def test_other_models_have_other_tags(opened: str, ended: str) -> None:
    assert events(list(f"\n{opened}Hm{ended}\nYes")) == [Reasoning("Hm"), Text("Yes"), Finished()]


def test_a_tag_that_only_begins_an_answer_is_its_text() -> None:
    assert events(["<thi"]) == [Text("<thi"), Finished()]
    assert events(["<thi", "s"]) == [Text("<this"), Finished()]


def test_a_call() -> None:
    found = events([f"<think>\nHm\n</think>\nOne moment.\n{call(city='Rome', nights='3')}\n"])
    assert found == [
        Reasoning("Hm"),
        Text("One moment."),
        ToolCall(0, "call_0", "book", '{"city": "Rome", "nights": 3}'),
        Finished("tool_calls"),
    ]


def test_two_calls() -> None:
    found = events([f"<think></think>{call(city='Rome')}\n{call(city='Oslo')}"])
    assert [c.index for c in found if isinstance(c, ToolCall)] == [0, 1]
    assert arguments(*found) == [{"city": "Rome"}, {"city": "Oslo"}]
    assert not [event for event in found if isinstance(event, Text)]


def test_without_tools_a_call_is_what_the_answer_is_about() -> None:
    raw = f"Like this:\n{call(city='Rome')}"
    assert events([f"<think>\n</think>{raw}"], ()) == [Text(raw), Finished()]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("city", "3", "3"),
        ("city", '{"a": 1}', '{"a": 1}'),
        ("nights", "3", 3),
        ("nights", "three", "three"),
        ("nights", "3.5", "3.5"),
        ("nights", "true", "true"),
        ("nights", "9" * 5000, "9" * 5000),
        ("price", "3", 3),
        ("price", "2.5", 2.5),
        ("price", "NaN", "NaN"),
        ("quiet", "true", True),
        ("quiet", "False", False),
        ("quiet", "yes", "yes"),
        ("guests", '["a", "b"]', ["a", "b"]),
        ("guests", "[" * 100_000, "[" * 100_000),
        ("extras", '{"a": [1]}', {"a": [1]}),
        ("until", "null", None),
        ("until", "None", None),
        ("late", "true", True),
        ("code", "7", "7"),
        ("unknown", "7", "7"),
        ("city", "", ""),
        ("city", "two\n\nlines\n", "two\n\nlines\n"),
        ("city", " <b>&amp;</b> </parameter> x", " <b>&amp;</b> </parameter> x"),
        ("city", "</tool_call>", "</tool_call>"),
    ],
)
def test_a_value_is_what_its_schema_says(key: str, text: str, value: object) -> None:
    assert arguments(*events([f"<think></think>{call(**{key: text})}"])) == [{key: value}]


@pytest.mark.parametrize(
    "raw",
    [
        "<tool_call>",
        "<tool_call>\n<function=book>\n<parameter=city>\nRome",
        "<tool_call>\n<function=book>\n<parameter=city>\nRome\n</function>\n</tool_call>",
        "<tool_call>\n<function=book>\nRome\n</function>\n</tool_call>",
        "<tool_call>\nbook(city)\n</function>\n</tool_call>",
        "<tool_call>\n<function=>\n</function>\n</tool_call>",
        call(city="Rome").replace("city", "city>\nOslo\n</parameter>\n<parameter=city"),
        "<tool_call" + "l" * 50,
        "\n\n\n<tool_call>?",
    ],
)
def test_what_is_not_a_call_stays_unchanged(raw: str) -> None:
    assert events([f"<think></think>So: {raw}"]) == [Text(f"So: {raw}"), Finished()]


def test_an_endless_call_is_given_back() -> None:
    piece = "x" * 4096
    count = LONGEST_CALL // len(piece) + 2
    plain = Untagged(TOOLS)
    told = list(plain.take(Text("<think></think><tool_call>")))
    for _ in range(count):
        told += plain.take(Text(piece))
    assert "".join(e.text for e in told if isinstance(e, Text)) == "<tool_call>" + piece * count


def test_a_long_call_in_small_pieces_is_looked_at_once() -> None:
    value = "<line> of a file\n" * 60_000
    raw = f"<think></think>{call(city=value)}"
    began = time.process_time()
    found = events(raw[at : at + 4] for at in range(0, len(raw), 4))
    assert arguments(*found) == [{"city": value}]
    assert time.process_time() - began < 15, "2 s where each piece is looked at once"


def test_a_server_that_takes_its_answers_apart_is_left_alone() -> None:
    plain = Untagged(TOOLS)
    for event in (Reasoning("Hm"), Text("<think>"), Text(call(city="Rome")), Usage(), Finished()):
        assert list(plain.take(event)) == [event]


def test_held_text_precedes_a_failure() -> None:
    plain = Untagged()
    failed = Failed(SteprunError("gone"))
    assert not list(plain.take(Text("<th")))
    assert list(plain.take(failed)) == [Text("<th"), failed]


def test_held_text_is_passed_on_once() -> None:
    plain = Untagged(TOOLS)
    list(plain.take(Text("<think></think><tool_call>\n<fun")))
    assert list(plain.take(Reasoning("Hm"))) == [Text("<tool_call>\n<fun"), Reasoning("Hm")]
    assert list(plain.take(Finished())) == [Finished()]


def test_an_answer_that_was_cut_short_is_no_call() -> None:
    plain = Untagged(TOOLS)
    list(plain.take(Text(f"<think></think>{call(city='Rome')}<tool")))
    assert list(plain.take(Finished("length"))) == [Text("<tool"), Finished("length")]


# --- on the wire


async def answers(server: FakeServer, **extra: Any) -> list[Event]:
    messages = [Message("user", "Book me a room")]
    return [e async for e in stream(Endpoint(server.url), messages, Options(extra=extra))]


async def test_a_stream_of_raw_text_is_taken_apart() -> None:
    script = (Say("<thi"), Say("nk>\nHm\n</th"), Say("ink>\n"), Say(call(city="Rome")), End())
    with FakeServer(script, script) as server:
        first, *_, usage, last = await answers(server, tools=TOOLS)
        assert (first, last) == (Reasoning("Hm"), Finished("tool_calls"))
        assert isinstance(usage, Usage)
        assert server.requests[0]["tools"] == TOOLS
        told = await answers(server)
        assert Text(call(city="Rome")) in told, "no tools were offered"
        assert told[-1] == Finished("stop")


async def test_a_broken_stream_gives_what_was_held() -> None:
    with FakeServer((Say("<think>Hm</think>One <to"), Die())) as server:
        *told, last = await answers(server, tools=TOOLS)
        assert "".join(e.text for e in told if isinstance(e, Text)) == "One <to"
        assert isinstance(last, Failed)


fragments = st.sampled_from(
    [
        *("<think>", "</think>", "<tool_call>", "</tool_call>", "<function=book>", "</function>"),
        *("<parameter=city>", "</parameter>", "\n", "\n\n", "<", "</", ">", " ", "Rome", "é", "t"),
        call(city="Rome", nights="2"),
        call(),
    ]
)
raw_answers = st.lists(fragments | st.text(max_size=3), max_size=12).map("".join)


@given(raw_answers, st.lists(st.integers(0, 200), max_size=12), st.booleans(), st.booleans())
def test_how_it_is_cut_changes_nothing(
    text: str, cuts: list[int], opened: bool, with_tools: bool
) -> None:
    raw = "<think>" * opened + text
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[a:b] for a, b in itertools.pairwise(edges)]
    tools = TOOLS if with_tools else ()
    assert events(pieces, tools) == events([raw] * bool(raw), tools) == events(list(raw), tools)


@given(raw_answers, st.booleans())
def test_without_calls_only_tags_and_their_newlines_are_lost(text: str, opened: bool) -> None:
    raw = "<think>" * opened + text
    told = [e.text for e in events(list(raw), ()) if isinstance(e, Text | Reasoning)]
    if not raw.lstrip("\n ").startswith("<think>"):
        assert "".join(told).replace("</think>", "").replace("\n", "") == raw.replace(
            "</think>", ""
        ).replace("\n", "")
        return
    raw = raw.lstrip("\n ")
    body = raw.removeprefix("<think>")
    thinking, tag, answer = body.partition("</think>")
    assert "".join(told).replace("\n", "") == (thinking + answer).replace("\n", "")
    if not tag:
        assert "".join(told) == body.lstrip("\n")


@given(raw_answers)
@example(f"<tool_call>{call(city='Rome')}<tool_call>")
@example(call(city=f"{call(city='Rome')} is how"))
def test_nothing_of_an_answer_is_lost_around_calls(text: str) -> None:
    def bare(words: object) -> str:
        return "".join(str(words).split())

    found = events(list(f"<think></think>{text}"))
    said = bare("".join(e.text for e in found if isinstance(e, Text)))
    told = [call(**{key: bare(value) for key, value in each.items()}) for each in arguments(*found)]
    assert len(said) + sum(len(bare(each)) for each in told) == len(bare(text))
    left = iter(bare(text))
    assert all(letter in left for letter in said), "in its order"


def test_a_stray_tag_hides_no_call() -> None:
    stray = "<tool_call> is how it begins:"
    found = events([f"<think></think>{stray}\n{call(city='Rome')}"])
    assert arguments(*found) == [{"city": "Rome"}]
    assert found[0] == Text(stray)


def test_a_call_within_a_value_is_not_made() -> None:
    text = call(city=f"\n{call(city='Rome')}\nis how")
    assert events([f"<think></think>{text}"]) == [Text(text), Finished()]
