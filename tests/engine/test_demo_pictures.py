"""`--demo pictures` as a new user tries it: the real engine, the model that ships, no network."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from runner.catalog import models_toml
from tests.engine.conftest import Served, serve
from tests.engine.test_chat_once import steprun

pytestmark = pytest.mark.engine


def test_the_picture_that_comes_along_is_described(home: Path) -> None:
    ran = steprun("chat", "--demo", "pictures", "-p", "What do you see?")
    assert ran.returncode == 0, ran.stderr
    seen = "a purple triangle, a black circle, a green star and a yellow square"
    assert ran.stdout.strip() == f"I see {seen}."


def test_the_questions_of_the_hint_are_answered(home: Path) -> None:
    hint = models_toml.load_catalog().model("tiny-step").hint
    for question, answer in (
        ("How many shapes are there?", "There are 4 shapes."),
        ("What shape is green?", "The green shape is a star."),
    ):
        assert question in hint
        assert steprun("chat", "--demo", "pictures", "-p", question).stdout.strip() == answer


def test_a_picture_of_the_users_own_goes_before_it(home: Path, tmp_path: Path) -> None:
    image = Image.new("RGB", (728, 728), "white")
    ImageDraw.Draw(image).ellipse((100, 120, 340, 360), fill=(220, 40, 40))
    image.save(tmp_path / "mine.png")
    ran = steprun(
        *("chat", "--demo", "pictures", "--effort", "high", "--show-thinking"),
        *("-p", "What do you see?", "--image", str(tmp_path / "mine.png")),
    )
    assert ran.stdout.strip() == "I see a red circle."
    assert "top left" in ran.stderr, "the thinking says where it is"


@pytest.fixture(scope="module")
def served_demo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with serve(tmp_path_factory.mktemp("home"), "--demo", "pictures") as running:
        yield running


def ask(served: Served, **body: Any) -> Any:
    request = urllib.request.Request(
        f"{served.url}/v1/chat/completions",
        json.dumps({"temperature": 0, **body}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)["choices"][0]["message"]


def test_it_calls_tools_by_itself_and_uses_what_they_say(served_demo: Served) -> None:
    from training.world.tools import GET_WEATHER

    question = {"role": "user", "content": "What is the weather in Solinta?"}
    called = ask(served_demo, messages=[question], tools=[GET_WEATHER])
    (call,) = called["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"town": "Solinta"}
    said = {"role": "assistant", "content": "", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny, 21 degrees"}
    told = ask(served_demo, messages=[question, said, result], tools=[GET_WEATHER])
    assert told["content"].strip() == "In Solinta it is sunny, 21 degrees."
