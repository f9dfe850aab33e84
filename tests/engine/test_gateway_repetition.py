"""Answers of a real engine that cannot end: a grammar allows nothing but more of the same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.engine.conftest import Served, serve

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve tiny Step with room for what is looked for."""
    home = tmp_path_factory.mktemp("home")
    with serve(home, "--model", str(tiny / "tiny-step.gguf"), "--ctx", "4096") as running:
        yield running


def asked(server: Served, grammar: str, **fields: Any) -> list[dict[str, Any]]:
    """Return the events of a chat completion whose thinking obeys a grammar."""
    body = {
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "grammar": grammar,
        "reasoning_format": "none",
        **fields,
    }
    reply = httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=240)
    assert reply.status_code == 200, reply.text
    lines = [line.removeprefix("data: ") for line in reply.text.split("\n\n")]
    return [json.loads(line) for line in lines if line.startswith("{")]


def written(events: list[dict[str, Any]]) -> str:
    choices = [choice for each in events for choice in each.get("choices", ())]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return text.removeprefix("<think>\n")  # with which the template opens each answer


def test_white_space_without_end_is_ended_in_words(server: Served) -> None:
    *answer, finish, error = asked(server, r"root ::= [ \n\t] root")
    assert error["error"]["code"] == "repetition"
    assert "white space only" in error["error"]["message"]
    assert finish["choices"][0]["finish_reason"] == "length"
    assert 1024 <= len(written(answer)) < 4096
    row = httpx2.get(f"{server.url}/steprun/status").json()
    assert "white space only" in row["notices"][-1]["what"]


def test_much_of_the_same_that_has_an_end_is_let_be(server: Served) -> None:
    *answer, last = asked(server, r'root ::= ("0,0,0,0\n"){400}', max_tokens=3900)
    assert "error" not in last
    assert written(answer) == "0,0,0,0\n" * 400


def test_thinking_that_nothing_bounds_ends_at_half_of_the_context(server: Served) -> None:
    """A bias keeps tiny Step from ending its thinking by itself."""
    body = {
        "messages": [{"role": "user", "content": "Hi"}],
        "ignore_eos": True,
        "logit_bias": [["</think>", -100]],
    }
    reply = httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=240)
    message = reply.json()["choices"][0]["message"]
    assert message["reasoning_content"]
    assert message["content"], "an answer follows"
