"""The thinking ended, limited and continued: a real engine behind the gateway, the trained Step.

Its thinking is held open by a bias against the tag that ends it, so that no test is a race; one
that is forced is stronger than any bias.
"""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.chat.answering import answer
from runner.chat.clock import AnswerClock
from runner.chat.control import end_thinking
from runner.chat.conversation import Conversation
from runner.chat.events import Event, Reasoning
from runner.chat.figures import ask_figures
from runner.chat.host import Remote
from runner.chat.images.load import load_picture
from runner.chat.steps import StepKind
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Options
from runner.net.endpoint import Endpoint
from tests.conftest import ROOT
from tests.engine.conftest import Served, serve

pytestmark = pytest.mark.engine

PICTURE = ROOT / "runner" / "testbed" / "trained" / "shapes.png"
SEEN = "a purple triangle, a black circle, a green star"
OPTIONS = Options(effort="high", temperature=0, max_tokens=400, controlled=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("home"), "--demo", "pictures", "--ctx", "4096") as running:
        yield running


@pytest.fixture
def conversation(home: Path) -> Iterator[Conversation]:
    del home
    opened = Conversation("Tiny")
    yield opened
    opened.close()


def endless(served: Served, **more: Any) -> Options:
    """Return options with which the model does not end its thinking by itself."""
    body = {"content": "</think>", "parse_special": True}
    request = urllib.request.Request(
        f"{served.url}/tokenize", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        (tag,) = json.load(reply)["tokens"]
    return replace(OPTIONS, extra={"logit_bias": [[tag, -100]], "ignore_eos": True}, **more)


async def asked(
    conversation: Conversation,
    served: Served,
    options: Options = OPTIONS,
    *,
    after: int = 0,
    turn: Turn | None = None,
) -> tuple[Turn, bool]:
    """Ask what is to be seen; after some tokens of thinking, end it. Return whether that worked."""
    turn = turn or conversation.append("What do you see?", (load_picture(PICTURE),))
    endpoint, clock = Endpoint(served.url), AnswerClock()
    ended: list[asyncio.Task[bool]] = []
    turn.begin()

    def on_event(event: Event) -> None:
        if isinstance(event, Reasoning) and turn.thought_tokens == after:
            clock.ended_thinking = True
            ended.append(asyncio.create_task(end_thinking(endpoint, clock.answer_id)))

    await answer(conversation, turn, Remote(endpoint), options, clock=clock, on_event=on_event)
    assert turn.error is None, turn.error
    return turn, bool(ended) and await ended[0]


async def test_the_thinking_is_ended_through_the_gateway_and_nothing_is_read_again(
    trained: Served, conversation: Conversation
) -> None:
    options = replace(endless(trained), max_tokens=3000)
    turn, ended = await asked(conversation, trained, options, after=50)
    assert ended
    assert 50 <= turn.thought_tokens < 3000, "else it would have thought to the limit"
    assert turn.answered
    assert turn.usage is not None
    written = turn.thought_tokens + turn.answer_tokens
    assert turn.usage.completion_tokens >= written, "it is one request: nothing is read twice"


async def test_without_having_been_prepared_for_it_the_engine_does_not(
    trained: Served, conversation: Conversation
) -> None:
    options = replace(endless(trained), controlled=False, max_tokens=200)
    turn, ended = await asked(conversation, trained, options, after=20)
    assert not ended
    assert not turn.answered
    assert turn.thinks_only


async def test_somebody_elses_answer_cannot_be_ended(trained: Served) -> None:
    assert not await end_thinking(Endpoint(trained.url), "chatcmpl-somebodyelses")
    assert not await end_thinking(Endpoint("http://127.0.0.1:9"), "chatcmpl-nobody")


async def test_the_thinking_has_a_limit(trained: Served, conversation: Conversation) -> None:
    options = endless(trained, thinking_cap=60)
    turn, _ = await asked(conversation, trained, replace(options, max_tokens=100))
    assert 55 <= turn.thought_tokens <= 65
    assert turn.answer.startswith(f"I see {SEEN}")


async def test_what_was_thought_is_continued_or_closed(
    trained: Served, conversation: Conversation
) -> None:
    first, _ = await asked(conversation, trained, replace(OPTIONS, max_tokens=25))
    assert first.thinks_only
    assert first.finish == "length"
    whole, _ = await asked(conversation, trained, turn=conversation.continued(first, answers=False))
    assert whole.phase is TurnState.DONE
    assert whole.reasoning.startswith(first.reasoning)
    assert len(whole.reasoning) > len(first.reasoning)
    assert whole.answer == f"I see {SEEN.replace(', a green', ' and a green')}."
    assert [step.kind for step in whole.steps] == [StepKind.THINKING, StepKind.TEXT]
    assert conversation.siblings(whole) == (1, 1)


async def test_it_answers_from_what_it_had_thought(
    trained: Served, conversation: Conversation
) -> None:
    first, _ = await asked(conversation, trained, replace(endless(trained), max_tokens=50))
    assert first.thinks_only
    turn, _ = await asked(conversation, trained, turn=conversation.continued(first, answers=True))
    assert turn.reasoning.startswith(first.reasoning.strip())
    assert turn.answered
    assert turn.usage is not None
    assert turn.usage.prompt_tokens - turn.usage.cached_tokens < 80, "the picture is not read again"


async def test_an_answer_that_was_cut_is_continued(
    trained: Served, conversation: Conversation
) -> None:
    first, _ = await asked(conversation, trained, replace(OPTIONS, max_tokens=55))
    assert first.finish == "length"
    assert first.answered
    turn, _ = await asked(conversation, trained, turn=conversation.continued(first, answers=False))
    assert turn.answer == f"I see {SEEN.replace(', a green', ' and a green')}."
    assert len(turn.steps) == 2


async def test_to_continue_costs_one_token_of_reading(
    trained: Served, conversation: Conversation
) -> None:
    # Longer than the sliding window of 512: in a shorter prompt the engine (b11549) always goes
    # back to its latest checkpoint, however much of it is the same.
    long = "circle square green star number. " * 150
    question = conversation.append(long, (load_picture(PICTURE),))
    first, _ = await asked(conversation, trained, replace(OPTIONS, max_tokens=10), turn=question)
    assert first.thinks_only
    for answers in (False, True):
        again = conversation.continued(conversation.turns[-1], answers=answers)
        turn, _ = await asked(conversation, trained, replace(OPTIONS, max_tokens=3), turn=again)
        assert turn.usage is not None
        assert turn.usage.prompt_tokens > 1000
        assert turn.usage.prompt_tokens - turn.usage.cached_tokens <= 8, "the end of the thinking"


async def test_the_gateway_tells_its_memory(trained: Served) -> None:
    figures = await ask_figures(replace(Endpoint(trained.url), owned=True))
    assert figures is not None
    assert 0 < figures.planned < figures.limit
    assert figures.resident > 10 << 20
    assert figures.free > 0
    assert figures.engine
