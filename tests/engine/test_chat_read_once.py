"""`steprun chat` reads nothing twice, and survives its engine: real engines, random weights."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.chat.answering import answer
from runner.chat.conversation import Conversation
from runner.chat.host import ChatHost
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Options
from runner.engine.process import servers
from runner.engine.process.supervisor import EngineProcess
from runner.gateway.own_host import OwnHost
from runner.gateway.settings import Settings
from runner.plan.launch import LaunchSpec
from tests.engine.test_gateway_stays_up import PROGRAM
from tests.engine.conftest import ONE_THREAD

pytestmark = pytest.mark.engine

DOCUMENT = "\n".join(f"fact {number}: it is {number * 37 % 1000}." for number in range(60))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one home for all: what is kept is kept between them."""
    return tmp_path_factory.mktemp("home")


def chat(place: Path, tiny: Path, *words: str, stdin: str | None = None) -> dict[str, Any]:
    """Ask one question in a process of its own; return its line in the log of requests."""
    model = ("--model", str(tiny / "tiny-step.gguf"), "--ctx", "8192", "--max-tokens", "4")
    ran = subprocess.run(
        [sys.executable, "-m", "runner", "chat", *model, "--temperature", "0", *words],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        env={**os.environ, **ONE_THREAD, "STEPRUN_HOME": str(place)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ran.returncode in {0, 1}, ran.stderr  # 1: four tokens of reasoning, and no answer
    log = place / "state" / "logs" / "requests-chat.jsonl"
    assert log.exists(), ran.stderr
    found: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    assert found["status"] == 200
    assert not list((place / "state" / "servers").iterdir()), "no record and no key is left"
    return found


def test_a_second_question_about_a_document_reads_little_and_so_does_a_resumed_chat(
    place: Path, tiny: Path
) -> None:
    first = chat(place, tiny, "-p", "What is fact 7?", stdin=DOCUMENT)
    second = chat(place, tiny, "-p", "And what is fact 50?", stdin=DOCUMENT)
    assert first["cached_tokens"] == 0
    assert second["restored_tokens"] > 0
    read = second["prompt_tokens"] - second["cached_tokens"]
    assert read < 0.5 * second["prompt_tokens"]
    resumed = chat(place, tiny, "--resume", "-p", "Say it again.")
    assert resumed["prompt_tokens"] > second["prompt_tokens"]
    assert resumed["prompt_tokens"] - resumed["cached_tokens"] < 100
