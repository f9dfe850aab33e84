"""The gateway outlives its engine, and no request is lost without a word."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.http import StreamWriter

from runner.base.errors import BadFile, SteprunError
from runner.base.loaded import Loaded
from runner.gateway.engine.keeper import Keeper, Traffic
from runner.gateway.engine.lowering import Lowering
from runner.gateway.engine.rungs import ServedRung
from runner.gateway.settings import Settings
from tests.fakes.kept_engine import FakeEngine, FakeEngines, begun, fine, say
from tests.unit.gateway.conftest import FAST, Open, Running, Told

PINGS = replace(FAST, quiet_s=0.02)


async def until(what: Any) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.005)


async def ready(running: Running, times: int = 1) -> None:
    await until(lambda: running.told.words.count("ready") >= times)


class Dies:
    """Answers by dying, `times` times, after so many events; then well.

    After events it dies when `seen` is set: what the gateway has not read by then is lost with it.
    """

    def __init__(self, engines: FakeEngines, times: int = 1, events: int = 0) -> None:
        self.engines, self.times, self.events = engines, times, events
        self.seen = asyncio.Event()

    async def __call__(self, request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        if not self.times:
            return await fine(request, asked)
        self.times -= 1
        if self.events:
            stream = await begun(request)
            for number in range(self.events):
                await say(stream, str(number))
            await stream.write(b'data: {"half')
            await self.seen.wait()
        engine = self.engines.made[-1]
        await asyncio.shield(asyncio.create_task(engine.die()))
        await asyncio.sleep(60)
        raise AssertionError


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_that_has_not_begun_is_sent_again(
    gateway: Open, engines: FakeEngines, stream: bool
) -> None:
    engines.answer = Dies(engines)
    async with gateway() as running:
        status, text = await running.text(stream=stream)
        assert status == 200, text
        assert "fine" in text
        assert running.told.words[1] == "restarting: The engine was killed. By the test."
        await ready(running, 2)
    assert len(engines.made) == 2
    assert engines.made[0].endpoint.base_url != engines.made[1].endpoint.base_url


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_that_kills_the_engine_does_so_twice_at_most(
    gateway: Open, engines: FakeEngines, stream: bool
) -> None:
    engines.answer = Dies(engines, times=9)
    async with gateway() as running:
        status, text = await running.text(stream=stream)
        assert status == 502, text
        assert "Send the request again" in json.loads(text)["error"]["message"]
        engines.answer = fine
        assert (await running.text())[0] == 200, "the next one is answered"


async def test_it_is_told_how_far_an_engine_is_that_loads_and_not_once_it_answers(
    gateway: Open, engines: FakeEngines
) -> None:
    engines.loads, engines.far = asyncio.Event(), Loaded(42 << 30, 100 << 30)
    async with gateway(PINGS) as running:
        async with running.http.get(running.url + "/health") as health:
            assert (await health.json())["loaded_percent"] == 42
        engines.loads.set()
        await running.text()
        assert running.told.loaded == [engines.far]
        async with running.http.get(running.url + "/health") as health:
            assert "loaded_percent" not in await health.json()


@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("/v1/chat/completions", b'data: {"error": {"message": "The engine stopped'),
        ("/v1/responses", b'event: error\ndata: {"type": "error"'),
        ("/v1/messages", b'event: error\ndata: {"type": "error", "error"'),
    ],
)
async def test_a_stream_that_breaks_ends_with_an_error_of_its_api(
    gateway: Open, engines: FakeEngines, path: str, event: bytes
) -> None:
    engines.answer = dies = Dies(engines, events=2)
    async with gateway() as running, running.post(path, stream=True) as reply:
        assert await reply.content.readuntil(b"\n\n") == b'data: {"text":"0"}\n\n'
        assert await reply.content.readuntil(b"\n\n") == b'data: {"text":"1"}\n\n'
        dies.seen.set()
        last = await reply.read()  # raises where the chunks do not end as they should
    assert last.startswith(event), "and no half of a third one"
    assert last.endswith(b"\n\n")
    assert last.count(b"\n\n") == 1


async def test_requests_wait_for_the_first_load_and_are_pinged(
    gateway: Open, engines: FakeEngines
) -> None:
    engines.loads = asyncio.Event()
    async with gateway(PINGS) as running:
        async with running.http.get(running.url + "/health") as health:
            assert (health.status, (await health.json())["status"]) == (503, "loading")
            assert "loaded_percent" not in await health.json(), "nobody knows it"
        plain = asyncio.create_task(running.text())
        async with (
            running.post(stream=True) as openai,
            running.post("/v1/messages", stream=True) as anthropic,
        ):
            assert await openai.content.readuntil(b"\n\n") == b": waiting\n\n"
            ping = await anthropic.content.readuntil(b"\n\n")
            assert ping == b'event: ping\ndata: {"type": "ping"}\n\n'
            assert openai.headers["Content-Type"] == "text/event-stream"
            engines.loads.set()
            assert b"fine" in await openai.read()
            assert b"fine" in await anthropic.read()
        assert (await plain)[0] == 200


async def test_pings_stop_at_no_event_and_a_late_refusal_is_an_event(
    gateway: Open, engines: FakeEngines
) -> None:
    go = asyncio.Event()

    async def refuses(*_: object) -> web.StreamResponse:
        await go.wait()
        return web.json_response({"error": {"message": "Too long."}}, status=400)

    engines.answer = refuses
    async with gateway(PINGS) as running, running.post(stream=True) as reply:
        assert reply.status == 200
        assert await reply.content.readuntil(b"\n\n") == b": waiting\n\n"
        go.set()
        last = (await reply.read()).removesuffix(b"\n\n").rpartition(b"\n\n")[2]
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert (error["message"], error["code"]) == ("Too long.", 400)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("answering", [True, False])
async def test_a_client_that_hangs_up_makes_the_engine_stop(
    gateway: Open, engines: FakeEngines, stream: bool, answering: bool
) -> None:
    async def long(request: web.BaseRequest, _: object) -> web.StreamResponse:
        if answering and stream:
            made = await begun(request)
            await say(made, "first")
        await asyncio.sleep(60)
        raise AssertionError

    engines.answer = long
    seen = asyncio.Event()
    async with gateway() as running:

        async def ask() -> None:
            async with running.post(stream=stream) as reply:
                await reply.content.readuntil(b"\n\n")
                seen.set()
                await reply.read()

        asking = asyncio.create_task(ask())
        await until(lambda: seen.is_set() if answering and stream else engines.asked)
        asking.cancel()
        await until(lambda: engines.dropped == 1)
        engines.answer = fine
        assert (await running.text())[0] == 200, "its turn is free again"


async def test_a_hung_engine_is_killed_and_started_again(
    gateway: Open, engines: FakeEngines
) -> None:
    async def silent(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        if len(engines.made) > 1:
            return await fine(request, asked)
        engines.made[0].still = True
        await asyncio.sleep(60)
        raise AssertionError

    engines.answer = silent
    async with gateway(replace(FAST, still_s=0.1)) as running:
        assert (await running.text(stream=True))[0] == 200
    assert "The engine hangs." in running.told.words[1]
    assert engines.made[0].stops[0] is False, "one that stands still hears no polite word"


async def test_an_idle_engine_is_not_a_hung_one(gateway: Open, engines: FakeEngines) -> None:
    async with gateway(replace(FAST, still_s=0.02, idle_s=0.02)) as running:
        await ready(running)
        engines.made[0].still = True
        await asyncio.sleep(0.3)
        assert running.told.words == ["ready"]


async def test_a_first_load_that_can_only_fail_again_ends_the_gateway(
    gateway: Open, engines: FakeEngines
) -> None:
    engines.fails = [(False, BadFile("It is damaged."))]
    async with gateway() as running:
        with pytest.raises(BadFile, match="damaged"):
            await running.task
    engines.fails = [(True, SteprunError("exit status 7"))]
    async with gateway() as running:
        with pytest.raises(SteprunError, match="status 7"):
            await running.task
    assert len(engines.made) == 2


async def test_a_load_that_was_killed_is_repeated_but_not_for_ever(
    gateway: Open, engines: FakeEngines
) -> None:
    killed = (False, SteprunError("SIGKILL"))
    engines.fails = [killed] * 3
    async with gateway(replace(FAST, loads=4)) as running:
        assert (await running.text())[0] == 200, "the fourth load went well"
        engines.fails = [killed] * 9
        await engines.made[-1].die()
        with pytest.raises(SteprunError, match="SIGKILL"):
            await running.task
    assert len(engines.made) == 4 + 4


async def test_who_waits_is_told_when_the_engine_is_given_up(
    gateway: Open, engines: FakeEngines
) -> None:
    engines.loads = asyncio.Event()
    engines.fails = [(True, BadFile("It is damaged."))]
    async with gateway() as running:
        asking = asyncio.create_task(running.text())
        await asyncio.sleep(0.05)
        engines.loads.set()
        status, text = await asking
    assert status == 503
    assert json.loads(text)["error"]["message"]


async def test_a_stop_drains(gateway: Open, engines: FakeEngines) -> None:
    go = asyncio.Event()

    async def slow(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        stream = await begun(request)
        await go.wait()
        await say(stream, "done")
        return stream

    engines.answer = slow
    async with gateway(parallel=1) as running, running.post(stream=True) as reply:
        second = asyncio.create_task(running.text())
        await asyncio.sleep(0.05)
        running.stop.ask()
        assert (await second)[0] == 503, "it has not begun"
        async with running.post() as third:
            assert third.status == 503
            assert int(third.headers["Retry-After"]) > 0
        async with running.http.get(running.url + "/health") as health:
            assert (await health.json())["status"] == "stopping"
        assert not running.task.done()
        go.set()
        assert b"done" in await reply.read()
        await running.task
    assert running.told.words == ["ready", "draining 1"]
    assert engines.made[0].stops[0] is True


@pytest.mark.parametrize("again", [True, False])
async def test_a_drain_ends_in_time_or_at_the_second_word(
    gateway: Open, engines: FakeEngines, again: bool
) -> None:
    async def endless(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        stream = await begun(request)
        await say(stream, "first")
        await asyncio.sleep(60)
        raise AssertionError

    engines.answer = endless
    seconds = 60 if again else 0.05
    async with gateway(drain_s=seconds) as running, running.post(stream=True) as reply:
        await reply.content.readuntil(b"\n\n")
        running.stop.ask()
        if again:
            await asyncio.sleep(0.05)
            running.stop.ask()
        async with asyncio.timeout(5):
            text = await reply.read()
            await running.task
    assert b"The server is being stopped" in text
    assert engines.made[0].stops[0] is not again


async def test_an_engine_that_is_ready_for_a_moment_only_is_waited_for(
    engines: FakeEngines,
) -> None:
    """The waiter wakes when the engine that it was told of has died already."""
    told = Told(asyncio.get_running_loop().create_future())
    keeper = Keeper(Lowering(ServedRung(Settings(), engines), None, told), told, Traffic())
    waiting = asyncio.create_task(keeper.endpoint())
    await asyncio.sleep(0)
    async with FakeEngine(engines) as short, FakeEngine(engines) as lasting:
        keeper._begins(short)
        keeper._ends()
        await asyncio.sleep(0.01)
        assert not waiting.done()
        keeper._begins(lasting)
        assert await waiting == lasting.endpoint


async def test_a_request_that_kills_the_engine_takes_nobody_along_twice(
    gateway: Open, engines: FakeEngines
) -> None:
    """Who of them does it is not known after one death: so each is asked again alone."""
    aboard: list[str] = []

    async def answer(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        name = asked["user"]
        aboard.append(name)
        try:
            if len(engines.made) == 1:
                await until(lambda: len(aboard) == 3)
            await asyncio.sleep(0.02)
            if name == "poison":
                await asyncio.shield(asyncio.create_task(engines.made[-1].die()))
                await asyncio.sleep(60)
            await asyncio.sleep(0.1)
            return await fine(request, asked)
        finally:
            aboard.remove(name)

    engines.answer = answer
    async with gateway(parallel=3) as running:
        names = ("one", "poison", "two")
        answers = await asyncio.gather(*(running.text(user=name) for name in names))
    assert [status for status, _ in answers] == [200, 502, 200]
    assert len(engines.made) == 3


async def test_the_head_of_a_stream_is_sent_with_its_first_event(
    gateway: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    write, write_all = StreamWriter._write, StreamWriter._writelines

    def noted(writer: StreamWriter, data: bytes) -> None:
        sent.append(bytes(data))
        write(writer, data)

    def noted_all(writer: StreamWriter, data: tuple[bytes, ...]) -> None:
        sent.append(b"".join(data))
        write_all(writer, data)

    async with gateway() as running:
        await ready(running)
        monkeypatch.setattr(StreamWriter, "_write", noted)
        monkeypatch.setattr(StreamWriter, "_writelines", noted_all)
        assert (await running.text(stream=True))[0] == 200
    heads = [each for each in sent if each.startswith(b"HTTP/1.1 200")]  # the fake engine's, too
    assert any(b"fine" in each for each in heads)
