"""A real engine that is loaded by the first request, unloaded when idle, and loaded again."""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engine.conftest import Served, serve

pytestmark = pytest.mark.engine

LONG = " ".join(f"Line {number} of a long text." for number in range(120))


@pytest.fixture(scope="module")
def sleepy(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve tiny Step, which sleeps at first, and after two seconds without a request."""
    home = tmp_path_factory.mktemp("sleepy")
    model = ("--model", str(tiny / "tiny-step.gguf"), "--ctx", "4096", "--profile", "text")
    with serve(home, *model, "--on-demand", "--idle-unload", "2s") as running:
        yield running


def state(served: Served) -> str:
    with urllib.request.urlopen(f"{served.url}/health", timeout=10) as reply:
        return str(json.load(reply)["state"])


def engine_bytes(served: Served) -> int:
    """Return what the engine and its guard hold."""
    found = 0
    for each in psutil.Process(served.process.pid).children(recursive=True):
        try:
            found += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return found


def ask(served: Served, turns: list[str]) -> tuple[str, int, int]:
    """Return an answer, the tokens of its prompt, and how many were cached."""
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(turns)]
    body: dict[str, Any] = {"messages": messages, "max_tokens": 8, "temperature": 0}
    asked = urllib.request.Request(
        f"{served.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=120) as reply:
        answer = json.load(reply)
    usage = answer["usage"]
    message = answer["choices"][0]["message"]
    text = message.get("reasoning_content") or message["content"]
    return text, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


def wait_asleep(served: Served) -> None:
    deadline = time.monotonic() + 30
    while state(served) != "asleep" or engine_bytes(served):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_conversation_outlives_the_engines_sleep(sleepy: Served) -> None:
    assert state(sleepy) == "asleep"
    assert engine_bytes(sleepy) == 0
    turns = [LONG, "", "And then?"]
    turns[1], read, cached = ask(sleepy, turns[:1])
    assert (state(sleepy), cached) == ("ready", 0)
    assert engine_bytes(sleepy) > 0
    wait_asleep(sleepy)
    with urllib.request.urlopen(f"{sleepy.url}/v1/models", timeout=10) as reply:
        assert json.load(reply)["data"]
    assert state(sleepy) == "asleep", "to list the model wakes nobody"
    _, total, cached = ask(sleepy, turns)
    assert total > read
    assert cached > read * 0.8, "it was saved before, and restored"
    wait_asleep(sleepy)
