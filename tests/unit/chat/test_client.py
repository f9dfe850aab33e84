"""One request over real HTTP: what the stream yields, however the connection ends."""

from runner.chat.client import stream
from runner.chat.events import Event, Failed, Finished, Text, Usage
from runner.chat.wire import Message, Options
from runner.net.endpoint import Endpoint
from tests.fakes.sse_server import Die, End, FakeServer, Say, Silence, Step


async def answer(*script: Step) -> list[Event]:
    with FakeServer(script) as server:
        messages = [Message("user", "hi")]
        return [event async for event in stream(Endpoint(server.url), messages, Options())]


async def test_an_answer_ends_with_its_reason_after_what_it_took():
    assert [type(event) for event in await answer(Say("Yes."), End())] == [Text, Usage, Finished]


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
