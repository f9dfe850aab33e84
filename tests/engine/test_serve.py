"""`steprun serve` on tiny Step, driven by the packages that agents use."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.chat.images.tokens import image_tokens
from tests.engine.conftest import Served

pytestmark = pytest.mark.engine

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def png(width: int, height: int, colour: str = "red") -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def ask(served: Served, content: Any, **options: Any) -> Any:
    import openai

    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        reply = client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": content}], **options
        )
        return list(reply) if options.get("stream") else reply


def picture_part(width: int, height: int, colour: str = "red") -> dict[str, Any]:
    url = f"data:image/png;base64,{png(width, height, colour)}"
    return {"type": "image_url", "image_url": {"url": url}}


def test_openai_stream_with_thinking_and_usage(served: Served) -> None:
    stream = ask(
        served,
        "Hello",
        max_tokens=60,
        stream=True,
        stream_options={"include_usage": True},
        reasoning_effort="low",
    )
    thinking, text, usage = "", "", None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            thinking += getattr(choice.delta, "reasoning_content", None) or ""
            text += choice.delta.content or ""
    assert thinking, "tiny Step opens every answer with thinking"
    assert "<think>" not in thinking + text
    assert usage is not None
    assert 0 < usage.completion_tokens <= 60


@pytest.mark.parametrize("size", [(400, 300), (728, 728), (1280, 720), (3024, 100), (600, 200)])
def test_a_picture_costs_what_we_say(served: Served, size: tuple[int, int]) -> None:
    plain = ask(served, "Hello", max_tokens=1).usage.prompt_tokens
    parts = [picture_part(*size), {"type": "text", "text": "Hello"}]
    seen = ask(served, parts, max_tokens=1).usage.prompt_tokens
    assert seen - plain == image_tokens(*size)


def test_two_pictures_cost_twice(served: Served) -> None:
    plain = ask(served, "Hello", max_tokens=1).usage.prompt_tokens
    parts = [
        picture_part(300, 300),
        picture_part(500, 400, "blue"),
        {"type": "text", "text": "Hello"},
    ]
    assert ask(served, parts, max_tokens=1).usage.prompt_tokens - plain == 2 * 171


def test_a_forced_tool_call(served: Served) -> None:
    reply = ask(served, "Weather?", tools=[WEATHER], tool_choice="required", max_tokens=2000)
    (call, *_) = reply.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)


def test_anthropic_messages(served: Served) -> None:
    import anthropic

    content: Any = [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": png(300, 300)},
        },
        {"type": "text", "text": "Hello"},
    ]
    with (
        anthropic.Anthropic(base_url=served.url, api_key="none", max_retries=0) as client,
        client.messages.stream(
            model="any", max_tokens=40, messages=[{"role": "user", "content": content}]
        ) as stream,
    ):
        message = stream.get_final_message()
    assert message.usage.input_tokens > 171
    assert 0 < message.usage.output_tokens <= 40
    assert {block.type for block in message.content} <= {"thinking", "text"}


def test_a_page_elsewhere_may_not_read_the_answers(served: Served) -> None:
    import httpx2

    reply = httpx2.get(f"{served.url}/v1/models", headers={"Origin": "https://example.com"})
    assert reply.headers.get("access-control-allow-origin") not in {"*", "https://example.com"}


def test_a_port_in_use_is_refused_at_once(served: Served, tiny: Path) -> None:
    port = served.url.rsplit(":", 1)[1]
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "runner", "serve", "--port", port),
            *("--model", str(tiny / "tiny-step.gguf")),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 3
    assert f"Port {port}" in ran.stderr
    free = re.search(r"--port (\d+)", ran.stderr)  # others may have the next one
    assert free
    assert int(port) < int(free[1]) <= int(port) + 20
    assert "Traceback" not in ran.stderr


def test_a_key_is_asked_for_and_never_shown(tiny: Path, tmp_path: Path) -> None:
    import httpx2
    import psutil

    from tests.engine.conftest import serve

    key = tmp_path / "key"
    key.write_text("s3cret-key-of-a-client\n")
    key.chmod(0o600)
    arguments = ["--model", str(tiny / "tiny-step.gguf"), "--ctx", "4096"]
    with serve(tmp_path / "h", *arguments, "--api-key-file", str(key)) as running:
        chat = f"{running.url}/v1/chat/completions"
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        assert httpx2.post(chat, json=body).status_code == 401
        headers = {"Authorization": "Bearer s3cret-key-of-a-client"}
        assert httpx2.post(chat, json=body, headers=headers).status_code == 200
        family = [psutil.Process(running.process.pid)]
        family += family[0].children(recursive=True)
        assert "s3cret" not in str([process.cmdline() for process in family])
        assert "s3cret" not in running.log()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a limit be raised")
def test_a_word_of_millions_of_letters_does_not_kill_it(served: Served) -> None:
    """It overran the usual stack of 8 MiB at 24,000 letters; the raised one bears 2.8 million."""
    import openai

    for letters, why in ((2_700_000, "exceeds the available context"), (3_000_000, "line breaks")):
        with pytest.raises(openai.BadRequestError, match=why):
            ask(served, "ACGT" * (letters // 4), max_tokens=1)
    assert served.process.poll() is None
    assert ask(served, "Hello", max_tokens=1).usage.completion_tokens == 1
