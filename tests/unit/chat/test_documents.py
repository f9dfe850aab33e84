"""A conversation as a web page and as JSON: everything in it, nothing of it obeyed."""

import base64
import json
import re
from html.parser import HTMLParser

import pytest

from runner.base.errors import SteprunError
from runner.chat.as_html import to_html
from runner.chat.as_json import SCHEMA, to_json
from runner.chat.events import Usage
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Picture

CAT = Picture('cat" onload="x.png', "image/png", b"\x89PNG...", 640, 480, 300)
HOSTILE = "<script>alert(1)</script> <img src=http://example.org/x.png onerror=alert(2)>"


class Tags(HTMLParser):
    """Collects the tags of a page, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def turn(**more):
    defaults = {"answer": "# Yes\n\n`x` and **y**", "reasoning": "hm", "phase": TurnState.DONE}
    return Turn("What is it?", (CAT,), **{**defaults, **more})


def test_the_page_has_everything_and_needs_nothing():
    page = to_html([turn(), turn(phase=TurnState.STOPPED)], "Step")
    tags = Tags(page)
    names = {name for name, _ in tags.tags}
    assert {"h1", "strong", "code", "details", "figure"} <= names
    images = [attributes for name, attributes in tags.tags if name == "img"]
    assert images[0]["src"] == CAT.data_url()
    assert images[0]["alt"] == f"[Image #1] {CAT.name} 640\N{MULTIPLICATION SIGN}480"
    assert set(images[0]) == {"src", "alt", "width", "height"}
    assert "stopped" in tags.text
    assert "What is it?" in tags.text


@pytest.mark.parametrize("where", ["text", "answer", "reasoning", "failed"])
def test_nothing_in_the_page_is_obeyed(where):
    hostile = HOSTILE + " ![x](http://example.org/y.png) [l](javascript:alert(3))"
    one = turn(phase=TurnState.FAILED, **({} if where == "text" else {where: hostile}))
    one.text = hostile if where == "text" else one.text
    page = to_html([one], "</title><script>")
    tags = Tags(page)
    assert "script" not in {name for name, _ in tags.tags}
    assert all(
        str(attributes.get("src", "data:")).startswith("data:") and "onerror" not in attributes
        for _, attributes in tags.tags
    )
    assert not any("javascript:" in str(attributes.get("href")) for _, attributes in tags.tags)
    assert "<script>alert(1)</script>" in tags.text
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy.startswith("default-src 'none'")


def test_the_json_has_everything():
    usage = Usage(prompt_tokens=10, completion_tokens=5)
    failed = turn(phase=TurnState.FAILED, error=SteprunError("Bad luck."), answer="\ud83d")
    text = to_json([turn(usage=usage, finish="stop"), failed, turn(phase=TurnState.THINKING)], "S")
    text.encode("utf-8")  # half a character fails no write
    document = json.loads(text)
    assert document["schema"] == SCHEMA
    first, second, third = document["turns"]
    assert [each["state"] for each in document["turns"]] == ["done", "failed", "running"]
    assert (first["text"], first["reasoning"], first["finish"]) == ("What is it?", "hm", "stop")
    assert (first["prompt_tokens"], first["completion_tokens"]) == (10, 5)
    assert base64.b64decode(first["pictures"][0]["data"]) == CAT.data
    assert "Bad luck." in second["error"]
    assert "error" not in third
