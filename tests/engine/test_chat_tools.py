"""The chat's tools with a real engine and the trained tiny Step: called, run, read, and kept.

The model learned a `zoom` that takes one of nine places; here that tool enlarges with the chat's
own code. What is sent, what comes back and what is cached is what Step's template makes of it.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from runner.chat import tool_rounds
from runner.chat.answering import answer
from runner.chat.conversation import Conversation
from runner.chat.dialect import OPENAI
from runner.chat.events import Usage
from runner.chat.host import Remote
from runner.chat.images.load import picture_from_bytes
from runner.chat.steps import StepKind
from runner.chat.tools.pictures import PictureTools, run_call
from runner.chat.tools.toolbox import Call, Result, Tool
from runner.chat.tools.toolboxes import Toolboxes
from runner.chat.turn import TOOL_LIMITS, Turn, TurnState
from runner.chat.wire import Options, Picture
from runner.net.endpoint import Endpoint
from tests.engine.conftest import Served, serve

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("home"), "--demo", "pictures") as running:
        yield running


class Places:
    """The zoom that the tiny model learned, carried out by the chat's own."""

    @property
    def tools(self) -> Sequence[Tool]:
        from training.world.tools import ZOOM

        function = ZOOM["function"]
        return [Tool(function["name"], function["description"], function["parameters"])]

    async def run(self, call: Call, pictures: Sequence[Picture]) -> Result:
        from training.world.pictures import PLACES

        row, column = divmod(PLACES.index(json.loads(call.arguments)["place"]), 3)
        side = 1000 / 3
        part = {"image": 1, "x": column * side, "y": row * side, "w": side, "h": side}
        return run_call(Call(call.id, "zoom", json.dumps(part)), pictures)


class Talk:
    """A chat with the demo; `usages`: what each request took, by its engine."""

    def __init__(self, demo: Served, box: Any, options: Options, resume: str = "") -> None:
        self.host = Remote(Endpoint(demo.url))
        self.options = options
        self.tools = Toolboxes(box)
        self.conversation = Conversation("Tiny", resume)
        self.usages: list[Usage] = []

    async def ask(self, text: str, *pictures: Picture) -> Turn:
        turn = self.conversation.append(text, pictures)
        turn.begin()
        await answer(
            *(self.conversation, turn, self.host, self.options),
            on_event=self._heard,
            tools=self.tools,
        )
        assert turn.error is None, turn.error
        return turn

    def _heard(self, event: object) -> None:
        if isinstance(event, Usage):
            self.usages.append(event)


def small_number(which: int) -> tuple[Picture, str, str]:
    """Return a picture with a number that is too small to read, the question and the number."""
    from training.world import evaluation, painting

    exchange = list(evaluation.zooms(which + 1))[which].exchange
    picture = picture_from_bytes(painting.png(exchange.pictures[0]), "small.png")
    return picture, exchange.question, exchange.expected[0]


GREEDY = Options(temperature=0.0, max_tokens=400)


async def test_a_number_that_is_too_small_is_zoomed_and_read_and_read_once(
    demo: Served, home: object
) -> None:
    picture, question, number = small_number(0)
    talk = Talk(demo, Places(), GREEDY)
    turn = await talk.ask(question, picture)
    kinds = [step.kind.value for step in turn.steps]
    assert kinds == ["thinking", "call", "result", "thinking", "text"]
    (result,) = (step for step in turn.steps if step.kind is StepKind.RESULT)
    assert result.pictures[0].name == "small.png (zoom 1)"
    assert result.pictures[0].tokens == 171
    assert turn.answer == f"The small number is {number}."
    first, both = talk.usages
    # The second request read what the call and its picture are, and not the question again.
    assert both.prompt_tokens > first.prompt_tokens + 171
    read_then = (both.prompt_tokens - both.cached_tokens) - (
        first.prompt_tokens - first.cached_tokens
    )
    assert read_then < both.prompt_tokens - first.prompt_tokens + 16
    # The next question: all to the end of the first one is cached; Step's template drops thinking
    # of an answer that is over, so that the round is read once more, without it.
    turn = await talk.ask("Read the small number.")
    assert number in turn.answer
    later = talk.usages[-1]
    assert later.cached_tokens >= first.prompt_tokens - 16
    # And the one after it finds the round as it was sent.
    await talk.ask("Read the small number.")
    assert talk.usages[-1].cached_tokens >= later.prompt_tokens - 16

    session = talk.conversation.session.id
    talk.conversation.close()
    again = Talk(demo, Places(), GREEDY, session)
    assert [step.kind.value for step in again.conversation.turns[0].steps] == kinds
    before = talk.usages[-1].prompt_tokens
    await again.ask("Read the small number.")
    assert again.usages[-1].cached_tokens >= before - 16, "a resumed chat is the same prompt"
    again.conversation.close()


async def test_pictures_that_follow_in_a_users_message_are_seen_too(
    demo: Served, home: object
) -> None:
    """As OpenAI's own form has it, for servers that take no pictures from tools."""
    picture, question, number = small_number(2)
    talk = Talk(demo, Places(), Options(temperature=0.0, max_tokens=400, dialect=OPENAI))
    turn = await talk.ask(question, picture)
    assert [step.kind.value for step in turn.steps].count("result") == 1
    assert number in turn.answer
    talk.conversation.close()


async def test_the_chats_own_zoom_is_called_through_the_engines_grammar(
    demo: Served, home: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is forced to call, with arguments that it never learned: any that fit the schema.

    What it then says of the picture is not asked: it was not trained on that.
    """
    monkeypatch.setattr(tool_rounds, "ROUNDS", 2)
    picture, _, _ = small_number(0)
    forced = Options(
        temperature=0.0,
        max_tokens=200,
        extra={
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "chat_template_kwargs": {"reasoning_effort": "low"},
        },
    )
    talk = Talk(demo, PictureTools(lambda: True), forced)
    turn = await talk.ask("What is the small number?", picture)
    results = [step for step in turn.steps if step.kind is StepKind.RESULT]
    assert results, turn.steps
    assert results[0].name in {"zoom", "mark"}
    assert results[0].pictures, results[0].text
    assert turn.phase is TurnState.DONE
    assert turn.finish in {*TOOL_LIMITS, "length"}, "it is forced to call, and ended all the same"
    talk.conversation.close()
