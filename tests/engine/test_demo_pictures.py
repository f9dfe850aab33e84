"""`--demo pictures` as a new user tries it: the real engine, the model that ships, no network."""

import base64
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from runner.canary import meaning
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


def post(served: Served, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{served.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def ask(served: Served, **body: Any) -> Any:
    reply = post(served, "/v1/chat/completions", {"temperature": 0, **body})
    return reply["choices"][0]["message"]


BOTH = "What do the two pictures show?"
CIRCLE, CROSS = (
    base64.b64encode(meaning.draw(meaning.SCENES[number]).data).decode() for number in (0, 3)
)


def openai(first: str, second: str) -> tuple[str, dict[str, Any]]:
    urls = [{"url": f"data:image/png;base64,{data}"} for data in (first, second)]
    content = [*({"type": "image_url", "image_url": url} for url in urls)]
    content = [*content, {"type": "text", "text": BOTH}]
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": content}]}


def anthropic(first: str, second: str) -> tuple[str, dict[str, Any]]:
    sources = [
        {"type": "base64", "media_type": "image/png", "data": data} for data in (first, second)
    ]
    content = [*({"type": "image", "source": source} for source in sources)]
    content = [*content, {"type": "text", "text": BOTH}]
    messages = [{"role": "user", "content": content}]
    return "/v1/messages", {"messages": messages, "max_tokens": 200}


def responses(first: str, second: str) -> tuple[str, dict[str, Any]]:
    content = [
        {"type": "input_image", "image_url": f"data:image/png;base64,{data}"}
        for data in (first, second)
    ]
    content = [*content, {"type": "input_text", "text": BOTH}]
    return "/v1/responses", {"input": [{"role": "user", "content": content}]}


def ollama(first: str, second: str) -> tuple[str, dict[str, Any]]:
    message = {"role": "user", "content": BOTH, "images": [first, second]}
    return "/api/chat", {"messages": [message], "stream": False}


@pytest.mark.parametrize("api", [openai, anthropic, responses, ollama])
def test_pictures_reach_the_model_in_their_order(
    served_demo: Served, api: Callable[[str, str], tuple[str, dict[str, Any]]]
) -> None:
    """By what the model says of them: a plain status would not show that they were swapped."""
    for order in ((CIRCLE, CROSS), (CROSS, CIRCLE)):
        path, body = api(*order)
        reply = json.dumps(post(served_demo, path, {"model": "tiny-step", **body}))
        said = reply[reply.rindex("First") :]
        places = [said.index(word) for word in ("red circle", "black cross")]
        assert (places[0] < places[1]) is (order == (CIRCLE, CROSS)), said


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
