"""What is changed while a chat goes on: the limit of the thinking, temperature, system prompt."""

import json
import sys

import pytest

from runner.chat.dialect import LLAMA_SERVER, OPENAI, Dialect
from runner.chat.sessions.choices import ChatChoices
from runner.chat.wire import Message, Options, Prefill, request_body, simpler_body
from runner.tui.settings import ChatSettings, SettingsFile
from tests.fakes.sse_server import End, Gate, Read, Say, Think
from tests.unit.tui.test_app import chat, user_home  # noqa: F401 - a fixture

VLLM = Dialect("vLLM", template=True, thinking_cap="thinking_token_budget")


# --- the limit of the thinking ----------------------------------------------------------------


async def test_the_thinking_is_limited_shown_and_remembered():
    gate = Gate()
    async with chat([Think("a"), Think("b"), gate, Say("Blue."), End()]) as c:
        await c.type("/thinking 4096")
        await c.sees("The thinking ends after 4,096 tokens")
        await c.type("which color?")
        await c.sees("2 of 4,096 tokens")
        assert c.server.requests[0]["thinking_budget_tokens"] == 4096
        gate.open()
        await c.sees("Blue.")
        await c.gone("of 4,096")
        await c.until(lambda: SettingsFile().now.max_thinking == "4096")
    async with chat([Say("Red."), End()]) as c:
        await c.type("/thinking")
        await c.sees("The thinking ends after 4,096 tokens")
        await c.type("/thinking default")
        await c.sees("The thinking has no limit")
        await c.type("and now?")
        await c.sees("Red.")
        assert "thinking_budget_tokens" not in c.server.requests[0]
        await c.until(lambda: not SettingsFile().now.max_thinking)


@pytest.mark.parametrize("typed", ["much", "-1", "1.5", "1" * 10, "\u0664"])
async def test_what_is_no_number_of_tokens_is_given_back(typed):
    async with chat() as c:
        await c.type(f"/thinking {typed}")
        if typed == "\u0664":  # a digit of another script is one
            await c.sees("The thinking ends after 4 tokens")
            return
        await c.sees("is not a number of tokens")
        assert c.app.composer.text == f"/thinking {typed}"
        assert c.app.options.thinking_cap is None


async def test_a_server_without_a_limit_says_so_and_is_sent_none():
    remembered = SettingsFile()
    remembered.choose(max_thinking="5")
    remembered.write()
    options = Options(dialect=OPENAI, thinking_cap=7)
    async with chat([Say("Fine."), End()], options=options) as c:
        await c.type("/thinking 5")
        await c.sees("This server takes no limit on thinking.", "/effort low")
        await c.type("hi")
        await c.sees("Fine.")
        assert not {"thinking_budget_tokens", "reasoning_control"} & set(c.server.requests[0])


def test_each_server_has_its_own_field_and_may_refuse_it():
    hi = [Message("user", "hi")]
    for dialect in (LLAMA_SERVER, VLLM):
        body = request_body(hi, Options(thinking_cap=0, controlled=True, dialect=dialect))
        assert body[dialect.thinking_cap] == 0
        reply = {"error": {"message": f"Unknown field: {dialect.thinking_cap}."}}
        simpler = simpler_body(body, 400, reply)
        assert simpler is not None
        assert dialect.thinking_cap not in simpler
    body = request_body(hi, Options(controlled=True))
    refused = {"error": {"message": "reasoning_control: extra fields not permitted"}}
    assert "reasoning_control" not in (simpler_body(body, 422, refused) or {"reasoning_control"})


@pytest.mark.parametrize("value", ["x", "1" * 10, "-3", ""])
def test_a_spoiled_limit_counts_as_none(value):
    from runner.base import paths

    path = paths.config_dir() / "chat.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": "steprun.chat/1", "max_thinking": value}))
    assert SettingsFile().now == ChatSettings()


def test_what_is_thought_is_sent_without_the_blank_lines_that_the_template_adds():
    begun = Prefill("hm\n", "", answers=True).fields()
    assert begun["messages"][0]["reasoning_content"] == "hm"
    assert Prefill("hm\n").fields()["messages"][0]["reasoning_content"] == "hm\n"
    assert "reasoning_content" not in Prefill("", "One").fields()["messages"][0]


# --- temperature and system prompt ------------------------------------------------------------


async def test_the_temperature_is_set_for_this_chat_and_kept_with_it():
    async with chat([Say("A."), End()], [Say("B."), End()], options=Options(temperature=1.0)) as c:
        await c.type("/temperature 0,2")
        await c.sees("Temperature: 0.2, in this chat.")
        await c.type("hi")
        await c.sees("A.")
        await c.ready()
        await c.type("/temperature default")
        await c.sees("Temperature: 1, in this chat.")
        await c.type("/temperature 0")
        await c.sees("Temperature: 0, in this chat.")
        session = c.app.conversation.session.id
    async with chat([Say("C."), End()], resume=session) as c:
        await c.type("again")
        await c.sees("C.")
        assert c.server.requests[0]["temperature"] == 0
        await c.type("/new")
        await c.sees("New chat.")
        await c.type("anew")
        await c.ready()
        assert "temperature" not in c.server.requests[1]


@pytest.mark.parametrize("typed", ["hot", "-1", "5.1", "nan", "inf"])
async def test_what_is_no_temperature_is_given_back(typed):
    async with chat() as c:
        await c.type(f"/temperature {typed}")
        await c.sees("is not a temperature", "from 0 to 5")
        assert c.app.composer.text == f"/temperature {typed}"


async def test_the_system_prompt_is_sent_first_kept_and_has_its_price():
    end = End("stop", 6000, 251)
    async with chat([Read(10, 20), Say("Arr."), end], [Say("Aye."), End()]) as c:
        await c.type("/system Talk like a pirate.")
        await c.sees("The system prompt is changed.")
        assert "again" not in c.screen(), "nothing is read yet"
        assert not c.app.conversation.session.path.exists(), "an empty chat is not worth a file"
        await c.type("hi")
        await c.sees("Arr.")
        await c.ready()
        told = c.server.requests[0]["messages"][0]
        assert told == {"role": "system", "content": "Talk like a pirate."}
        await c.type("/system none")
        await c.sees("There is no system prompt any more.")
        await c.sees("The next message reads all 6,251 tokens again, about 63 s.")
        await c.type("/system Talk like a cook.")
        await c.sees("is changed")
        session = c.app.conversation.session.id
    async with chat([Say("Fine."), End()], resume=session) as c:
        await c.type("again")
        await c.sees("Fine.")
        roles = [message["role"] for message in c.server.requests[0]["messages"]]
        assert roles == ["system", "user", "assistant", "user"]
        assert c.server.requests[0]["messages"][0]["content"] == "Talk like a cook."


async def test_the_system_prompt_is_written_in_an_editor(tmp_path, monkeypatch):
    script = tmp_path / "editor.py"
    script.write_text(
        "import pathlib, sys\nfile = pathlib.Path(sys.argv[1])\n"
        "file.write_text(file.read_text() + 'Be brief.\\n')\n"
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} {script}")
    async with chat() as c:
        monkeypatch.setattr(type(c.app), "suspend", _nothing)
        await c.type("/system")
        await c.sees("The system prompt is changed.")
        assert c.app.conversation.chosen.system == "Be brief."
        assert c.app.composer.text == ""


def _nothing(_):
    from contextlib import nullcontext

    return nullcontext()


@pytest.mark.parametrize("saved", [{"system": 3, "temperature": "hot"}, {"temperature": True}, {}])
def test_spoiled_choices_count_as_none(saved):
    assert ChatChoices(saved).temperature is None
    assert ChatChoices(saved).system == ""
    assert ChatChoices({"temperature": 99}).temperature is None
