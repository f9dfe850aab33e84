"""`steprun chat` reads nothing twice, and survives its engine: real engines, random weights."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.chat.answering import answer
from runner.chat.conversation import Conversation
from runner.chat.events import Reasoning, Text
from runner.chat.host import ChatHost
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Options
from runner.engine.process import servers
from runner.engine.process.supervisor import EngineProcess
from runner.gateway.own_host import OwnHost
from runner.gateway.settings import Settings
from runner.plan.launch import LaunchSpec
from tests.engine.conftest import ONE_THREAD
from tests.engine.test_gateway_stays_up import PROGRAM

pytestmark = pytest.mark.engine

DOCUMENT = "\n".join(f"fact {number}: it is {number * 37 % 1000}." for number in range(120))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one home for all: what is kept is kept between them."""
    return tmp_path_factory.mktemp("home")


def chat(
    place: Path, tiny: Path, *words: str, most: int = 4, stdin: str | None = None
) -> dict[str, Any]:
    """Ask one question in a process of its own; return its line in the log of requests."""
    model = ("--model", str(tiny / "tiny-step.gguf"), "--ctx", "8192", "--max-tokens", str(most))
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


def own_host(tiny: Path) -> OwnHost:
    argv = ("--model", str(tiny / "tiny-step.gguf"), "--ctx-size", "32768", "--parallel", "1")
    spec = LaunchSpec((*argv, "--jinja", "--threads", "1", "--threads-batch", "1"))
    settings = Settings(served=servers.Served(title="Tiny"), command="chat", drain_s=0)
    return OwnHost(settings, lambda: EngineProcess(PROGRAM, spec))


async def asked(conversation: Conversation, host: ChatHost, most: int, begun: Any = None) -> Turn:
    """Ask for an answer of so many tokens; `begun` hears of its first."""
    turn = conversation.append("Hi", ())
    options = Options(max_tokens=most, extra={"ignore_eos": True})

    def on_event(event: object) -> None:
        if begun is not None and isinstance(event, Reasoning | Text):
            begun()

    await answer(conversation, turn, host, options, on_event=on_event)
    return turn


async def test_an_engine_that_is_killed_in_an_answer_is_there_for_the_next_question(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    conversation = Conversation("Tiny", "")
    async with own_host(tiny) as host:
        await host.wait_ready(lambda _: None)
        first = host._engine.pid

        def kill() -> None:
            with suppress(ProcessLookupError):  # more of the answer was under way
                os.kill(first, signal.SIGKILL)

        turn = await asked(conversation, host, 30_000, kill)
        assert turn.phase is TurnState.FAILED
        assert turn.error is not None
        assert "killed while it was answering (SIGKILL)" in turn.error.what
        await host.wait_ready(lambda _: None)
        turn = await asked(conversation, host, 3)
        assert turn.error is None
        assert turn.phase is TurnState.DONE
        second = host._engine.pid
        assert second != first
    assert not psutil.pid_exists(second)
    conversation.close()


async def test_an_engine_that_dies_before_the_answer_has_begun_is_asked_again(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    conversation = Conversation("Tiny", "")
    async with own_host(tiny) as host:
        await host.wait_ready(lambda _: None)
        os.kill(host._engine.pid, signal.SIGSTOP)
        asking = asyncio.create_task(asked(conversation, host, 3))
        await asyncio.sleep(0.5)  # it has the question, and does not move
        os.kill(host._engine.pid, signal.SIGKILL)
        turn = await asking
        assert turn.error is None
        assert turn.phase is TurnState.DONE
    conversation.close()


def test_a_second_question_about_a_document_reads_little_and_so_does_a_resumed_chat(
    place: Path, tiny: Path
) -> None:
    first = chat(place, tiny, "-p", "What is fact 7?", stdin=DOCUMENT)
    second = chat(place, tiny, "-p", "And what is fact 110?", stdin=DOCUMENT, most=400)
    assert first["cached_tokens"] == 0
    assert second["restored_tokens"] > 0
    # A micro-batch before the end of the first prompt: from there on, it is read.
    assert second["prompt_tokens"] - second["cached_tokens"] < 600 < second["prompt_tokens"] / 3
    resumed = chat(place, tiny, "--resume", "-p", "Say it again.")
    answered = resumed["prompt_tokens"] - second["prompt_tokens"]  # without its reasoning
    assert answered > 10
    assert resumed["prompt_tokens"] - resumed["cached_tokens"] < answered + 20
