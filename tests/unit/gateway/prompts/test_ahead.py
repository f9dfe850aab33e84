"""What of a request is read ahead of its question."""

import json
from typing import Any

import pytest

from runner.gateway import bodies, routes
from runner.gateway.prompts.ahead import (
    LEAST_TOKENS,
    QUESTION_CHARACTERS,
    UNSEEN_S,
    Ahead,
    beginning_of,
    body_of,
    reaches,
)
from runner.gateway.prompts.reading import prompt_of
from runner.kv.prompt import Prompt, common, part

CHAT = "/v1/chat/completions"
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
DOCUMENT = "\n\n".join(f"Paragraph {number}. " * 20 for number in range(30))


def says(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def cut(content: Any, *before: Any, **fields: Any) -> tuple[Prompt, dict[str, Any]] | None:
    """Return what of a chat is read ahead: its prompt, and the body."""
    messages = [*before, {"role": "user", "content": content}]
    data = json.dumps({"messages": messages, **fields}).encode()
    asked = bodies.read(routes.find("POST", CHAT), data, bodies.Terms(sees=True))
    found = beginning_of(asked.path, asked.document, asked.aside, prompt_of(asked))
    if found is None:
        return None
    body = b"".join(map(bytes, body_of(asked.document, asked.aside)))
    return found, json.loads(body)


def content_of(content: Any) -> Any:
    found = cut(content)
    return None if found is None else found[1]["messages"][-1]["content"]


def test_a_picture_is_read_before_the_question_about_it() -> None:
    for content in ([PICTURE, says("Which colour?")], [says("Look."), PICTURE, says("Well?")]):
        kept = content_of(content)
        assert kept[:-1] == content[:-1]
        assert kept[-1]["type"] == "text"


@pytest.mark.parametrize("gap", ["\n\n", "\n"])
def test_a_document_is_read_before_the_last_lines(gap: str) -> None:
    document = DOCUMENT.replace("\n\n", gap)
    for question in ("Who wrote it?", "When?\n"):
        assert content_of(f"{document}{gap}{question}") == [says(f"{document}{gap}")]
    assert content_of([says(document), says("Who wrote it?")]) == [says(document)]
    assert content_of([PICTURE, says(f"{document}{gap}Why?")]) == [
        PICTURE,
        says(f"{document}{gap}"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "Hello",
        [says("Hello")],
        [says("What is it?"), PICTURE],
        [PICTURE, says("x" * 2 * QUESTION_CHARACTERS)],
        "x" * 2 * QUESTION_CHARACTERS,
        "line\n" + "x" * 2 * QUESTION_CHARACTERS,
    ],
)
def test_where_no_question_is_seen_nothing_is_read_ahead(content: Any) -> None:
    assert content_of(content) is None


def test_only_what_a_user_asks_last_has_a_question() -> None:
    data = {"messages": [{"role": "user", "content": [PICTURE, says("Well?")]}]}
    data["messages"].append({"role": "assistant", "content": "It"})
    asked = bodies.read(routes.find("POST", CHAT), json.dumps(data).encode(), bodies.Terms())
    assert beginning_of(CHAT, asked.document, asked.aside, prompt_of(asked)) is None
    assert beginning_of("/v1/responses", {}, asked.aside, prompt_of(asked)) is None


def test_it_is_read_as_the_whole_and_nothing_is_written() -> None:
    system = {"role": "system", "content": "You see."}
    fields = {"reasoning_effort": "low", "tools": [{"type": "function", "function": {"name": "f"}}]}
    found = cut(
        [PICTURE, says("Well?")],
        system,
        **fields,
        stream=True,
        return_progress=True,
        max_tokens=900,
        stream_options={"include_usage": True},
        temperature=0,
    )
    assert found is not None
    body = found[1]
    assert body["messages"][0] == system
    assert body.items() >= fields.items()
    assert (body["n_predict"], body["add_generation_prompt"]) == (0, False)
    assert not body.keys() & {"stream", "stream_options", "return_progress", "max_tokens"}


@pytest.mark.parametrize(
    "before",
    [[PICTURE], [says("Look."), PICTURE], [says(DOCUMENT)]],
    ids=["picture", "two", "text"],
)
def test_another_question_has_the_same_beginning(before: list[Any]) -> None:
    system = {"role": "system", "content": "You see."}
    one, other = (cut([*before, says(text)], system) for text in ("Which colour?", "Why?"))
    assert one is not None
    assert other is not None
    assert one[0] == other[0]
    assert one[1]["messages"] == other[1]["messages"]
    whole = {"messages": [system, {"role": "user", "content": [*before, says("When?")]}]}
    asked = bodies.read(
        routes.find("POST", CHAT), json.dumps(whole).encode(), bodies.Terms(sees=True)
    )
    prompt = prompt_of(asked)
    assert prompt is not None
    assert reaches(one[0], common(one[0], prompt))
    assert not reaches(one[0], 1)


def test_only_what_saves_much_is_read_ahead() -> None:
    def ahead(*, seen: bool, kind: str = "user") -> Ahead:
        return Ahead(Prompt((part(kind, "", "x"),)), list, seen)

    assert ahead(seen=False).is_worth(LEAST_TOKENS, 1000.0)
    assert not ahead(seen=False).is_worth(LEAST_TOKENS - 1, 0.0)
    assert ahead(seen=False, kind="picture").is_worth(1, 1000.0)
    assert ahead(seen=True).is_worth(LEAST_TOKENS, UNSEEN_S)
    assert not ahead(seen=True).is_worth(LEAST_TOKENS, UNSEEN_S + 0.1)
