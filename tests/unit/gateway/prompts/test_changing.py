"""What clients change in every prompt is left out of it, in every API, unless it shall stay."""

import json
from pathlib import Path
from typing import Any

import pytest

from runner.gateway import bodies, routes
from runner.gateway.calls import Asked, call_of
from runner.gateway.prompts.changing import changing
from runner.gateway.prompts.reading import prompt_of
from runner.kv.prompt import Prompt, common

RECORDED = Path(__file__).parents[3] / "data" / "gateway" / "requests"
HEADER = "x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; cch=a5145;"
OTHER = "x-anthropic-billing-header: cc_version=2.1.101.0f0; cc_entrypoint=cli; cch=00000;"
YOU = "You are Claude Code."
HI = {"role": "user", "content": "Hi"}


def read(path: str, document: dict[str, Any], *, keep: bool = False) -> Asked:
    data = json.dumps(document).encode()
    return bodies.read(routes.find("POST", path), data, bodies.Terms(keep_headers=keep))


def messages(header: str, *, system: Any = None) -> dict[str, Any]:
    blocks = [{"type": "text", "text": header}, {"type": "text", "text": YOU}]
    return {"messages": [HI], "max_tokens": 9, "system": system or blocks}


def chat(header: str) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": header + YOU}, HI]}


def responses(header: str) -> dict[str, Any]:
    return {"input": "Hi", "instructions": header + YOU}


def ollama(header: str) -> dict[str, Any]:
    return {"prompt": "Hi", "system": header + YOU}


PATHS = [
    ("/v1/messages", messages),
    ("/v1/messages/count_tokens", messages),
    ("/v1/chat/completions", chat),
    ("/v1/responses", responses),
    ("/api/generate", ollama),
]


@pytest.mark.parametrize(("path", "body"), PATHS, ids=[path for path, _ in PATHS])
def test_the_engine_does_not_read_it(path: str, body: Any) -> None:
    asked = read(path, body(HEADER))
    sent = b"".join(call_of(asked).body).decode()
    assert "billing" not in sent
    assert YOU in sent
    assert asked.ignored == ["x-anthropic-billing-header"]
    assert sent == b"".join(call_of(read(path, body(OTHER))).body).decode()


@pytest.mark.parametrize(("path", "body"), PATHS, ids=[path for path, _ in PATHS])
def test_it_stays_where_it_shall(path: str, body: Any) -> None:
    asked = read(path, body(HEADER), keep=True)
    assert HEADER in b"".join(call_of(asked).body).decode()
    assert not asked.ignored


@pytest.mark.parametrize(
    "text",
    [
        "Your x-anthropic-billing-header: cch=a;",
        "x-anthropic-billing-header: no pairs here",
        "x-anthropic-billing-header:",
        "",
    ],
)
def test_nothing_else_is_left_out(text: str) -> None:
    document = messages("", system=text + YOU)
    asked = read("/v1/messages", document)
    assert b"".join(call_of(asked).body) == json.dumps(document).encode()
    assert not asked.ignored


def test_what_people_say_of_it_stays() -> None:
    document = {"messages": [{"role": "user", "content": HEADER}], "max_tokens": 9}
    assert not read("/v1/messages", document).ignored


def test_a_line_of_its_own_goes_whole_and_no_more() -> None:
    asked = read("/v1/messages", messages("", system=f"{HEADER[:-1]}\n\n{YOU}"))
    assert asked.document["system"] == f"\n{YOU}"


def test_a_header_of_any_length_is_judged_at_once() -> None:
    (_, pattern), *_ = changing()
    assert pattern.match("x-anthropic-billing-header:" + " a" * 100_000 + "=") is None
    assert pattern.match("x-anthropic-billing-header:" + " a=b;" * 100_000 + "=")


def recorded(name: str, *, keep: bool) -> Prompt:
    body = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))["body"]
    body["output_config"].pop("format", None)
    found = prompt_of(read("/v1/messages", body, keep=keep))
    assert found is not None
    return found


def test_recorded_sessions_of_claude_code_begin_alike_without_it() -> None:
    """Each has another header, although one version sent them."""
    headers = set()
    for name in ("claude-code", "claude-code-picture", "claude-code-title"):
        body = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))["body"]
        headers.add(body["system"][0]["text"])
    assert len(headers) == 3
    with_it, without = (
        common(recorded("claude-code", keep=keep), recorded("claude-code-picture", keep=keep))
        for keep in (True, False)
    )
    assert with_it == 1  # the effort
    assert without == 3  # and all of the system prompt: two lines
