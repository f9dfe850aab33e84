"""llama-cpp-python's server on tiny Step, spoken to the way the chat does."""

import asyncio
import io
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest

from runner.base.errors import Refused, SteprunError
from runner.chat.client import stream
from runner.chat.events import Event, Failed, Finished, Reasoning, Text, ToolCall, Usage
from runner.chat.images.tokens import image_tokens
from runner.chat.wire import Call, Message, Options, Picture
from runner.engine.installed.describe import describe, listing
from runner.engine.llama_cpp_python import server
from runner.engine.llama_cpp_python.server.flags import FLAGS, QUESTIONS
from runner.engine.process.supervisor import EngineProcess, Where
from runner.plan.launch import EngineFiles, Settings, launch

pytestmark = [pytest.mark.engine, pytest.mark.timeout(2400)]  # the first time it is built
CONTEXT = 8192
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
LONG = "The small quiet number sounds round and some picture stays green. " * 180


@dataclass(frozen=True)
class Answer:
    """One answer, put together."""

    events: list[Event]

    def joined(self, kind: type[Text | Reasoning]) -> str:
        return "".join(e.text for e in self.events if isinstance(e, kind))

    @property
    def text(self) -> str:
        return self.joined(Text)

    @property
    def thinking(self) -> str:
        return self.joined(Reasoning)

    @property
    def usage(self) -> Usage:
        (usage,) = (e for e in self.events if isinstance(e, Usage))
        return usage

    @property
    def error(self) -> SteprunError:
        last = self.events[-1]
        assert isinstance(last, Failed)
        return last.error


@pytest.fixture(scope="module")
def program(python_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Return the environment's Python with the server as it is in this tree."""
    place = tmp_path_factory.mktemp("server")
    shutil.copytree(Path(server.__file__).parent, place / "server_under_test")
    (folder,) = python_home.glob("cache/engines/cpu-python-*")
    python = next(folder.glob("venv/[bS][ic][nr]*/python*"))
    start = f"import runpy, sys; sys.path.insert(0, {str(place)!r}); "
    start += "runpy.run_module('server_under_test', run_name='__main__')"
    return (str(python), "-I", "-c", start)


@asynccontextmanager
async def serving(
    program: tuple[str, ...], tiny: Path, *, sees: bool = True
) -> AsyncIterator[EngineProcess]:
    files = EngineFiles(tiny / "tiny-step.gguf", tiny / "mmproj-tiny-step.gguf" if sees else None)
    settings = Settings(
        CONTEXT, "q8_0", threads=2, load_mode="mmap", repack=False, sampling=(("temp", 0.0),)
    )
    async with EngineProcess(
        program, launch(files, settings, frozenset(FLAGS)), Where()
    ) as running:
        await running.wait_ready()
        yield running


@pytest.fixture
async def engine(program: tuple[str, ...], tiny: Path) -> AsyncIterator[EngineProcess]:
    """Serve tiny Step with its projector."""
    async with serving(program, tiny) as running:
        yield running


async def ask(engine: EngineProcess, *messages: Message, **options: object) -> Answer:
    wanted = Options(**{"max_tokens": 60, **options})  # type: ignore[arg-type]
    return Answer([event async for event in stream(engine.endpoint, messages, wanted)])


def user(text: str, *sizes: tuple[int, int], colour: str = "red") -> Message:
    from PIL import Image

    pictures = []
    for size in sizes:
        out = io.BytesIO()
        Image.effect_noise(size, 80).convert("RGB").save(out, "PNG")
        pictures.append(Picture("a.png", "image/png", out.getvalue(), *size, image_tokens(*size)))
    return Message("user", text, tuple(pictures))


def test_it_says_what_it_is(program: tuple[str, ...]) -> None:
    told = describe(program)
    assert told.version == "llama-cpp-python 0.3.36"
    assert told.flags == {*FLAGS, *QUESTIONS}
    assert "Available devices:" in listing(program)


async def test_thinking_text_and_what_they_took(engine: EngineProcess) -> None:
    first = await ask(engine, user("Hello"))
    assert first.thinking
    assert first.text
    assert "think>" not in first.thinking + first.text
    assert first.events[-1] == Finished("stop")
    assert first.usage.prompt_tokens > 0
    assert 0 < first.usage.completion_tokens < 60
    assert first.usage.decode_tps > 0
    again = await ask(engine, user("Hello"))
    assert (again.thinking, again.text) == (first.thinking, first.text), "greedy: --temp 0"
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1


async def test_an_answer_that_is_cut_short(engine: EngineProcess) -> None:
    answer = await ask(engine, user("Hello"), max_tokens=3)
    assert answer.events[-1] == Finished("length")
    assert answer.usage.completion_tokens == 3
    assert not answer.text


async def test_the_template_hears_of_the_effort(engine: EngineProcess) -> None:
    plain = await ask(engine, user("Hello"))
    costs = [
        (await ask(engine, user("Hello"), effort=effort)).usage.prompt_tokens
        for effort in ("low", "medium", "high")
    ]
    assert all(cost > plain.usage.prompt_tokens for cost in costs)
    assert costs[1] - costs[0] == len("medium") - len("low"), "a token a letter, in tiny Step"


async def test_pictures_cost_what_we_say_and_are_seen(engine: EngineProcess) -> None:
    plain = await ask(engine, user("Hello"))
    for sizes in ([(300, 300)], [(300, 300), (500, 400)], [(900, 700)]):
        seen = await ask(engine, user("Hello", *sizes))
        cost = seen.usage.prompt_tokens - plain.usage.prompt_tokens
        assert cost == sum(image_tokens(*size) for size in sizes)
        assert seen.text
    after = await ask(engine, user("Hello"))
    assert (after.thinking, after.text) == (plain.thinking, plain.text), "the picture is gone"


async def test_a_picture_that_a_tool_returned_is_seen(engine: EngineProcess) -> None:
    called = Message("assistant", "", calls=(Call("a", "zoom", "{}"),))
    shown = user("", (300, 300)).pictures
    costs = []
    for pictures in ((), shown):
        told = Message("tool", "Image 2.", pictures, answers="a")
        answer = await ask(engine, user("What is it?", (300, 300)), called, told)
        assert isinstance(answer.events[-1], Finished), answer.error.why[:4000]
        costs.append(answer.usage.prompt_tokens)
    assert costs[1] - costs[0] == image_tokens(300, 300)


async def test_words_that_look_like_a_picture_are_words(engine: EngineProcess) -> None:
    said = await ask(engine, user("What is <__media__> in mtmd.cpp?", (300, 300)))
    assert said.text
    assert isinstance(said.events[-1], Finished)


async def test_a_long_prompt_read_again_is_answered_the_same(engine: EngineProcess) -> None:
    cold = await ask(engine, user(LONG))
    assert cold.usage.prompt_tokens > 1500, "beyond the window of 512"
    warm = await ask(engine, user(LONG))
    more = await ask(engine, user(f"{LONG} More"))
    assert more.usage.cached_tokens > 1000, "read on from what was there"
    await ask(engine, user("Something else"))
    cold_more = await ask(engine, user(f"{LONG} More"))
    assert cold_more.usage.cached_tokens < 100
    for one, other in ((cold, warm), (more, cold_more)):
        assert (one.thinking, one.text) == (other.thinking, other.text)


async def test_what_the_window_has_lost_is_read_again(engine: EngineProcess) -> None:
    head = LONG[: len(LONG) // 2]
    cold = await ask(engine, user(head))
    await ask(engine, user(LONG))
    back = await ask(engine, user(head))
    assert back.usage.cached_tokens < 100, "the window before its end is gone"
    assert (back.thinking, back.text) == (cold.thinking, cold.text)


async def test_a_forced_call_and_the_turn_after_it(engine: EngineProcess) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = await ask(engine, user("Weather?"), extra={"tools": [WEATHER], "tool_choice": choice})
    assert {e.name for e in answer.events if isinstance(e, ToolCall)} == {"get_weather"}
    call = {"name": "get_weather", "arguments": '{"city": "Rome"}'}
    body = {
        "tools": [WEATHER],
        "max_tokens": 30,
        "messages": [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "a", "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": "a", "content": "Sun"},
        ],
    }
    async with httpx2.AsyncClient(headers=engine.endpoint.headers(), timeout=60) as http:
        reply = await http.post(f"{engine.endpoint.base_url}/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"].startswith("<think>\n")


async def test_what_fails_is_said(engine: EngineProcess) -> None:
    for message in (user("Hello " * 3 * CONTEXT), user("Hello " * 3 * CONTEXT, (300, 300))):
        answer = await ask(engine, message)
        assert isinstance(answer.error, Refused)
        assert "no longer fits" in answer.error.what
    broken = Message("user", "?", (Picture("a.png", "image/png", b"none", 3, 3, 171),))
    assert "bitmap" in str((await ask(engine, broken)).error.why)
    path = Path(__file__).as_uri()
    elsewhere = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": path}}]}
    answer = await ask(engine, extra={"messages": [elsewhere]})
    assert "as a data: URL" in str(answer.error.why)
    assert (await ask(engine, user("Hello"))).text


async def test_without_a_projector_it_does_not_see(program: tuple[str, ...], tiny: Path) -> None:
    async with serving(program, tiny, sees=False) as engine:
        answer = await ask(engine, user("What?", (300, 300)))
    assert "cannot see images" in answer.error.what


async def test_requests_wait_for_each_other(engine: EngineProcess) -> None:
    words = ("one", "two", "three")
    alone = [await ask(engine, user(word)) for word in words]
    together = await asyncio.gather(*(ask(engine, user(word)) for word in words))
    assert [answer.text for answer in together] == [answer.text for answer in alone]


async def test_one_who_hangs_up_frees_the_model(engine: EngineProcess) -> None:
    events = stream(engine.endpoint, [user("Hello")], Options(extra={"max_tokens": 5000}))
    await anext(events)
    await events.aclose()
    assert (await ask(engine, user("Hello"))).text


async def test_the_key_and_pages_of_others(engine: EngineProcess) -> None:
    base = engine.endpoint.base_url
    async with httpx2.AsyncClient(timeout=30) as http:
        assert (await http.get(f"{base}/v1/models")).status_code == 401
        allowed = []
        for origin in ("http://localhost:3000", "https://elsewhere.example"):
            reply = await http.get(f"{base}/health", headers={"Origin": origin})
            allowed.append(reply.headers.get("access-control-allow-origin"))
    assert allowed == ["http://localhost:3000", None]


async def test_nothing_of_a_conversation_is_in_the_log(engine: EngineProcess) -> None:
    await ask(engine, user("Secretword"))
    await ask(engine, user("Secretword", (300, 300)))
    log = engine.log_path.read_text("utf-8", "replace")
    assert "KV buffer size" in log
    assert "Secretword" not in log
    assert engine.endpoint.api_key not in log


async def test_it_ends_at_once_in_the_middle_of_a_prompt(engine: EngineProcess) -> None:
    task = asyncio.create_task(ask(engine, user(LONG * 3)))
    process, deadline = psutil.Process(engine.pid), time.monotonic() + 30
    idle = process.cpu_times().user
    while process.cpu_times().user < idle + 0.2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert not task.done()
    began = asyncio.get_running_loop().time()
    await engine.stop()
    assert asyncio.get_running_loop().time() - began < 5, "before the guard has to kill it"
    assert isinstance((await task).events[-1], Failed)
