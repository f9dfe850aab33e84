"""One request over real HTTP: what the stream yields, however the connection ends."""

import asyncio
import ssl
import time

import pytest

from runner.base.errors import SteprunError
from runner.chat import client
from runner.chat.client import Busy, identify, stream, wait_for
from runner.chat.clock import AnswerClock
from runner.chat.dialect import Offer
from runner.chat.events import Event, Failed, Finished, Text, Usage
from runner.chat.wire import Message, Options
from runner.net.endpoint import Endpoint
from tests.fakes.sse_server import Die, End, FakeServer, Gate, Read, Say, Silence, Step


async def answer(*script: Step) -> list[Event]:
    with FakeServer(script) as server:
        messages = [Message("user", "hi")]
        return [event async for event in stream(Endpoint(server.url), messages, Options())]


async def test_an_answer_ends_with_its_reason_after_what_it_took():
    assert [type(event) for event in await answer(Say("Yes."), End())] == [Text, Usage, Finished]


async def test_no_certificates_are_read_for_a_server_of_this_machine(monkeypatch):
    def read(*_: object, **__: object) -> None:
        raise AssertionError("they take 25 ms")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", read)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", read)
    assert (await answer(Say("Yes."), End()))[0] == Text("Yes.")


async def test_a_connection_that_breaks_after_the_reason_is_no_failure():
    """Some servers hang up once they have said all: the answer is whole."""
    events = await answer(Say("Yes."), End("length"), Die())
    assert [type(event) for event in events] == [Text, Usage, Finished]
    assert events[-1] == Finished("length")


async def test_a_connection_that_breaks_before_the_reason_is_a_failure():
    *events, last = await answer(Say("Yes"), Die())
    assert events == [Text("Yes")]
    assert isinstance(last, Failed)
    assert "broke" in last.error.what


async def test_a_server_that_says_that_this_is_all_need_not_say_why():
    assert await answer(Say("Yes")) == [Text("Yes"), Finished("stop")]


async def test_a_stream_that_ends_without_a_reason_is_a_failure():
    *events, last = await answer(Say("Yes"), Silence())
    assert events == [Text("Yes")]
    assert isinstance(last, Failed)
    assert "ended before it was finished" in last.error.what


async def test_a_busy_server_is_waited_for(monkeypatch):
    monkeypatch.setattr(client, "REPLY_S", 0.1)
    waited: list[float] = []
    with FakeServer() as server:
        server.pages = {"/v1/models": {"data": [{"id": "Step-3.7"}]}}
        server.free.clear()

        def on_wait(seconds: float) -> None:
            waited.append(seconds)
            if seconds > 0.5:  # longer than the patience of one request
                server.free.set()

        endpoint = Endpoint(server.url)
        with pytest.raises(Busy, match="does not answer"):
            await identify(endpoint)
        monkeypatch.setattr(client, "WAIT_POLL_S", 0.01)
        assert await wait_for(endpoint, on_wait) == ({}, [Offer("Step-3.7")])
    assert len(waited) > 2
    assert waited == sorted(waited)
    with pytest.raises(SteprunError, match="No server answers"):  # it has ended: no use to wait
        await wait_for(Endpoint(server.url), lambda _: None)


async def test_the_clock_hears_of_the_connection_and_of_signs_of_life():
    gate, clock = Gate(), AnswerClock()
    clock.ask(time.monotonic())
    with FakeServer([Read(1, 2), gate, Say("a"), End()]) as server:
        server.headers = {"x-steprun-restored": "7"}
        answering = stream(Endpoint(server.url), [Message("user", "hi")], Options(), clock=clock)
        await anext(answering)
        assert clock.asked_at < clock.connected_at <= clock.heard_at
        assert clock.restored == 7
        heard = clock.heard_at
        token = asyncio.create_task(anext(answering))
        async with asyncio.timeout(30):
            while clock.heard_at == heard:  # the script sends comments while it waits
                await asyncio.sleep(0.01)
        assert not token.done()
        gate.open()
        assert await token == Text("a")
        await answering.aclose()


async def test_silence_in_mid_answer_is_not_called_a_broken_connection(monkeypatch):
    monkeypatch.setattr(client, "SILENCE_S", 0.3)

    class Mute(FakeServer):
        def _play(self, script, handler):
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            handler.end_headers()
            handler.wfile.write(b'data: {"choices": [{"delta": {"content": "A"}}]}\n\n')
            handler.wfile.flush()
            self.over.wait()

    with Mute() as server:
        messages = [Message("user", "hi")]
        *events, last = [e async for e in stream(Endpoint(server.url), messages, Options())]
    assert events == [Text("A")]
    assert isinstance(last, Failed)
    assert "stopped sending" in last.error.what
