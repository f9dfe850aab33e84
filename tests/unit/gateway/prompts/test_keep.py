"""What is done around each request, before a fake engine that saves, refuses, hangs up and dies."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace as replace_fields

from runner.gateway.activity import Entry
from runner.gateway.prompts.choose import Wanted
from runner.gateway.prompts.slots import Slots, Taken
from runner.gateway.refusal import Api
from runner.gateway.watching.account import account_of
from runner.kv.depends import Depends
from runner.kv.kept import Kept
from runner.kv.policy import Bounds
from runner.kv.prompt import Prompt, part
from runner.kv.store import Store
from tests.fakes.caching_engine import CachingEngine, CachingSlot
from tests.fakes.kept_engine import FakeEngines
from tests.unit.gateway.conftest import FAST, Open, Running

DEPENDS = Depends("engine", "weights", "", "", "q8_0")
LONG = "word " * 800  # 4,000 characters: as many tokens as the fake engine counts for a message
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
AT_ONCE = replace(FAST, save_idle_s=0.01)
NEVER = replace(FAST, save_idle_s=600)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    found = Kept(tmp_path / "kv", DEPENDS, Bounds(1 << 40, 0, 1 << 40), spare_slots=1)
    found.slot_folder.mkdir(parents=True)
    return found


@pytest.fixture
def engine(engines: FakeEngines, kept: Kept) -> CachingEngine:
    engine = CachingEngine(kept.slot_folder)
    engines.answer = engine.answer
    return engine


def talk(*words: str) -> list[dict[str, str]]:
    """Return a conversation: who asks begins, and has the last word."""
    roles = ("user", "assistant")
    return [
        {"role": roles[number % 2], "content": f"{word} {LONG}"}
        for number, word in enumerate(words)
    ]


async def ask(running: Running, *words: str, path: str = CHAT, **fields: Any) -> int:
    status, text = await running.text(path, messages=talk(*words), max_tokens=9, **fields)
    assert status == 200, text
    return status


async def title(running: Running, path: str = CHAT) -> None:
    messages = [{"role": "user", "content": "A title"}]
    status, text = await running.text(path, messages=messages, max_tokens=9)
    assert status == 200, text


async def stop(running: Running) -> None:
    """End a gateway in order, as one signal does."""
    running.stop.ask()
    await running.task


async def until(happened: Any) -> None:
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0.01)


async def test_a_conversation_keeps_its_slot_whoever_asks_between(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    async with gateway(NEVER, kept=kept) as running:
        await ask(running, "a")
        await title(running)
        await ask(running, "a", "b", "c")
        await title(running, MESSAGES)
        await ask(running, "a", "b", "c", "d", "e", path=MESSAGES)
        await title(running, MESSAGES)
        await ask(running, "a", "b", "c", "d", "e", "f", "g")
        await ask(running, "a", "b", "c", "d", "e", "f", "g", "h", "i", path=MESSAGES)
        assert engine.read == 9 + 1  # the title is the same each time
    asked = [line for line in engine.log if line.startswith("ask")]
    assert len(set(asked[:7:2])) == len(set(asked[1:7:2])) == 1


async def test_an_engine_that_cannot_be_steered_is_asked_to_only_once(
    gateway: Open, engine: CachingEngine, engines: FakeEngines, kept: Kept
) -> None:
    refused: list[Any] = []

    async def answer(request: Any, asked: dict[str, Any]) -> web.StreamResponse:
        if asked.get("prompt") == [[]]:
            refused.append(asked)
            return web.json_response({}, status=400)
        return await engine.answer(request, asked)

    engines.answer = answer
    async with gateway(NEVER, kept=kept) as running:
        await ask(running, "a")
        await ask(running, "a", "b", "c", path=MESSAGES)
        await ask(running, "a", "b", "c", "d", "e", path=MESSAGES)
        await title(running, MESSAGES)
        await ask(running, "a", "b", "c", "d", "e", "f", "g")
    assert len(refused) == 1


async def test_two_agents_on_one_slot_save_and_restore(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    engine.slots = engine.slots[:1]
    async with gateway(NEVER, kept=kept) as running:
        await ask(running, "a")
        await ask(running, "x")
        await ask(running, "a", "b", "c")
        await ask(running, "x", "y", "z")
    assert engine.read == 6
    assert engine.log[:8] == [
        *("ask 0", "save 0", "ask 0", "save 0", "restore 0", "ask 0", "save 0", "restore 0")
    ]


async def test_what_idles_is_saved_once_and_found_after_a_restart(
    gateway: Open, engine: CachingEngine, engines: FakeEngines, kept: Kept
) -> None:
    async with gateway(AT_ONCE, kept=kept) as running:
        await ask(running, "a")
        await until(lambda: list(kept.slot_folder.glob("*.kv")))
        await asyncio.sleep(0.1)
        assert engine.log.count("save 0") + engine.log.count("save 1") == 1
        engine.died()
        await engines.made[0].die()
        await ask(running, "a", "b", "c")
        assert engine.read == 1 + 2


async def test_a_stop_saves_what_is_not_saved_yet(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    async with gateway(NEVER, kept=kept) as running:
        await ask(running, "a", "b", "c")
        await stop(running)
    engine.died()
    async with gateway(NEVER, kept=kept) as running:
        await ask(running, "a", "b", "c", "d", "e")
    assert engine.read == 3 + 2


@pytest.mark.parametrize("action", ["save", "restore", "erase"])
async def test_what_the_engine_refuses_fails_no_request(
    gateway: Open, engine: CachingEngine, kept: Kept, action: str
) -> None:
    engine.slots = engine.slots[:1]
    engine.fails = {action}
    async with gateway(NEVER, kept=kept) as running:
        for words in (["a"], ["x"], ["a", "b", "c"], ["x", "y", "z"]):
            await ask(running, *words)
    assert engine.read == (6 if action == "erase" else 8)


async def test_a_damaged_file_never_reaches_the_engine(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    async with gateway(AT_ONCE, kept=kept) as running:
        await ask(running, "a")
        await until(lambda: list(kept.slot_folder.glob("*.kv")))
    (file,) = kept.slot_folder.glob("*.kv")
    file.write_bytes(b"x" * file.stat().st_size)
    engine.died()
    async with gateway(NEVER, kept=kept) as running:
        await ask(running, "a", "b", "c")
    assert not any(line.startswith("restore") for line in engine.log)


async def test_a_request_that_was_cancelled_is_read_on_where_it_was_left(
    gateway: Open, engine: CachingEngine, engines: FakeEngines, kept: Kept
) -> None:
    async with gateway(AT_ONCE, kept=kept) as running:
        engine.pause = asyncio.Event()
        engine.lets_go = asyncio.Event()
        cancelled = asyncio.create_task(ask(running, "a", "b", "c"))
        await until(lambda: engine.log)
        cancelled.cancel()
        await until(lambda: engines.dropped)
        engine.pause = None
        looks = engine.looks
        again = asyncio.create_task(ask(running, "a", "b", "c"))
        await until(lambda: engine.looks > looks + 3 or len(engine.log) > 1)
        assert engine.log in (["ask 0"], ["ask 1"])  # it waits for the slot, and saves nothing
        engine.lets_go.set()
        await again
        assert engine.log[0] == engine.log[1]
        assert engine.read == 2  # the first message was there


async def test_two_at_once_that_cannot_name_a_slot_do_not_race(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    async with gateway(NEVER, kept=kept, parallel=2) as running:
        await ask(running, "a", path=MESSAGES)
        await ask(running, "x", path=MESSAGES)
        engine.delays = [0.1, 0.0] * 3  # the second one would overtake the first
        for turn in (("b", "c"), ("b", "c", "d", "e"), ("b", "c", "d", "e", "f", "g")):
            await asyncio.gather(
                ask(running, "a", *turn, path=MESSAGES), ask(running, "x", *turn, path=MESSAGES)
            )
    assert engine.read == 14


async def test_without_a_disk_the_slots_are_chosen_all_the_same(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    async with gateway(AT_ONCE, kept=replace(kept, bounds=Bounds(0, 0, 0))) as running:
        await ask(running, "a")
        await title(running, MESSAGES)
        await ask(running, "a", "b", "c", path=MESSAGES)
        await asyncio.sleep(0.1)
    assert engine.read == 3 + 1
    assert not any(line.startswith(("save", "restore")) for line in engine.log)


async def test_pictures_are_not_saved_where_they_do_not_survive(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    url = {"url": "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"}
    content = [{"type": "text", "text": LONG}, {"type": "image_url", "image_url": url}]
    messages = [{"role": "user", "content": content}]
    for picture in (False, True):
        engine.log.clear()
        async with gateway(NEVER, kept=replace(kept, picture=picture), sees=True) as running:
            status, text = await running.text(CHAT, messages=messages)
            assert status == 200, text
            await stop(running)
        assert any(line.startswith("save") for line in engine.log) == picture


async def test_an_engine_without_slots_is_left_to_itself(
    gateway: Open, engines: FakeEngines, kept: Kept
) -> None:
    async def answer(request: Any, asked: dict[str, Any]) -> Any:
        if request.path == "/slots":
            return web.json_response({"error": "no"}, status=501)
        assert "id_slot" not in asked
        return web.json_response({"fine": True})

    engines.answer = answer
    async with gateway(NEVER, kept=kept) as running:
        await ask(running, "a")


async def test_who_hangs_up_before_it_is_passed_on_leaves_the_slot_to_others(
    gateway: Open, engine: CachingEngine, engines: FakeEngines, kept: Kept
) -> None:
    touched, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, asked: dict[str, Any]) -> web.StreamResponse:
        if asked.get("prompt") == [[]]:
            touched.set()
            await go_on.wait()
        return await engine.answer(request, asked)

    engines.answer = answer
    async with gateway(NEVER, kept=kept) as running:
        await ask(running, "a")
        hangs_up = asyncio.create_task(ask(running, "a", "b", "c", path=MESSAGES))
        await touched.wait()
        hangs_up.cancel()
        await until(lambda: engines.dropped)
        go_on.set()
        await ask(running, "a", "b", "c")
    assert engine.read == 3


async def test_where_answers_say_what_slots_hold_the_engine_is_not_asked(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    async with gateway(NEVER, kept=kept) as running:
        await ask(running, "a")
        looks = engine.looks
        await ask(running, "a", "b", "c")
        await ask(running, "x")
        await ask(running, "a", "b", "c", "d", "e")
        assert engine.looks == looks
        await ask(running, "x", "y", "z", path=MESSAGES)  # which slot it gets has to be seen
        assert engine.looks > looks
    assert engine.read == 5 + 3


def test_what_the_engine_dropped_is_seen_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(tokens: int) -> list[dict[str, Any]]:
        return [{"id_task": 1, "is_processing": False, "n_prompt_tokens": tokens}]

    slots = Slots(seen(0), shared=False)
    (slot,) = slots.all
    account = account_of(Entry(1, "", Api.OPENAI, "", 0.0), 0.0)
    wanted = Wanted(Prompt((part("user", "m", "Hi"),)), 2)
    taken = Taken(slots, slot, slot.holding(0.0), 1, True, wanted, 0.0)
    assert not taken.answered(account, "")  # it does not say how long the prompt was
    assert taken.answered(replace_fields(account, prompt_tokens=40, tokens=9), "")
    assert (slot.tokens, slots.due(exactly=True), slots.due(exactly=False)) == (49, True, False)
    monkeypatch.setattr("runner.gateway.prompts.slots.LOOK_S", 0.0)
    assert slots.due(exactly=False)
    slots.look(seen(48))  # the last token of an answer is not read again
    assert (slot.tokens, slot.whole, slots.due(exactly=True)) == (48, True, False)
    slots.look(seen(0))
    assert slot.prompt is None


async def test_the_disk_is_not_asked_for_what_is_read_as_fast(
    gateway: Open, engine: CachingEngine, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def find(_: Store, prompt: Any) -> tuple[Any, ...]:
        asked.append(prompt)
        return ()

    monkeypatch.setattr(Store, "find", find)
    async with gateway(NEVER, kept=kept) as running:
        await title(running)
        assert not asked
        await ask(running, "a")
        assert len(asked) == 1
        messages = [*talk("a"), {"role": "assistant", "content": "b"}]
        messages.append({"role": "user", "content": "c"})
        assert (await running.text(messages=messages, max_tokens=9))[0] == 200
        assert len(asked) == 1


# As large as the smallest picture of the demo; what is in it does not matter here.
GIF = {"url": "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"}


async def shown(running: Running, question: str) -> str:
    picture = {"type": "image_url", "image_url": GIF}
    content = [picture, {"type": "text", "text": question}]
    status, text = await running.text(CHAT, messages=[{"role": "user", "content": content}])
    assert status == 200, text
    return text


def asked(engine: CachingEngine) -> list[str]:
    """Return what an engine was asked to read or to answer, and what it restored."""
    verbs = [line.split()[0] for line in engine.log]
    return [verb for verb in verbs if verb in {"read", "ask", "restore"}]


async def test_a_picture_is_read_once_for_all_questions_about_it(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    engine.slots = engine.slots[:1]
    bare = replace(kept, bounds=Bounds(0, 0, 0))
    async with gateway(NEVER, kept=bare, sees=True) as running:
        for question in ("Which colour?", "Is it round?", "Why?"):
            await shown(running, question)
    assert asked(engine) == ["read", "ask", "ask", "ask"]
    assert engine.read == 2 + 3  # what is read ahead ends with a word or two


async def test_what_was_read_ahead_is_not_read_ahead_again_once_restored(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    """The engine goes back there by itself, and once only."""
    async with gateway(NEVER, kept=kept, sees=True) as running:
        await shown(running, "Which colour?")
        await stop(running)
    engine.died()
    engine.log.clear()
    async with gateway(NEVER, kept=kept, sees=True) as running:
        await shown(running, "Where was it?")
    assert asked(engine) == ["restore", "ask"]


async def test_an_engine_that_does_not_read_ahead_answers_all_the_same(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    engine.slots, engine.fails = engine.slots[:1], {"read"}
    async with gateway(NEVER, kept=kept, sees=True) as running:
        for question in ("Which colour?", "Is it round?"):
            await shown(running, question)
    assert asked(engine) == ["read", "ask"] * 2


async def test_what_is_read_ahead_is_not_said_to_have_been_cached(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    async with gateway(NEVER, kept=kept, sees=True) as running:
        messages = [{"role": "user", "content": f"{'word ' * 1000}\n\nWhat is it about?"}]
        async with running.post(CHAT, messages=messages) as reply:
            assert reply.headers["x-steprun-ahead"] == "1000"
            await reply.read()


async def test_an_engine_that_dies_of_reading_ahead_is_not_asked_for_ever(
    gateway: Open, engine: CachingEngine, engines: FakeEngines, kept: Kept
) -> None:
    killed: list[str] = []

    async def answer(request: Any, asked: dict[str, Any]) -> web.StreamResponse:
        if asked.get("n_predict") == 0 and asked.get("messages"):
            killed.append(request.path)
            await engines.made[-1].die()
        return await engine.answer(request, asked)

    engines.answer = answer
    async with gateway(NEVER, kept=kept, sees=True) as running:
        picture = {"type": "image_url", "image_url": GIF}
        content = [picture, {"type": "text", "text": "Well?"}]
        status, _ = await running.text(CHAT, messages=[{"role": "user", "content": content}])
    assert (status, len(killed)) == (502, 2)


async def test_a_disk_that_refuses_a_save_is_left_alone_for_a_while(
    gateway: Open, engine: CachingEngine, kept: Kept
) -> None:
    for again_s, saves in ((600.0, 1), (0.0, 3)):
        engine.slots, engine.fails, engine.log = [CachingSlot()], {"save"}, []
        async with gateway(replace(NEVER, save_again_s=again_s), kept=kept) as running:
            for word in ("a", "x", "b", "y"):
                await ask(running, word)
            assert engine.log.count("save 0") == saves


async def test_a_stop_waits_for_a_save_no_longer_than_it_may(
    gateway: Open, engine: CachingEngine, engines: FakeEngines, kept: Kept
) -> None:
    hangs: list[str] = []

    async def answer(request: Any, asked: dict[str, Any]) -> web.StreamResponse:
        if request.query.get("action") == "save":
            hangs.append(request.path)
            await asyncio.Event().wait()
        return await engine.answer(request, asked)

    engines.answer = answer
    async with gateway(replace(NEVER, save_end_s=0.05), kept=kept) as running, asyncio.timeout(10):
        await ask(running, "a")
        await stop(running)
    assert len(hangs) == 1
