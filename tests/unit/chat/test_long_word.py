"""A word that would end the engine is not sent."""

import pytest

from runner.base.errors import Refused
from runner.chat.client import stream
from runner.chat.events import Failed
from runner.chat.long_word import longest_run, too_long_a_word
from runner.chat.wire import Call, Message, Options
from runner.net.endpoint import Endpoint
from tests.fakes.sse_server import End, FakeServer, Say


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("", 0),
        ("one three", 5),
        ("ACGT" * 10, 40),
        ("好" * 30, 30),
        ("a1b22c", 1),
        ("1" * 50, 0),
        ("a" + " " * 20, 20),
        ("x" + "=-_" * 9, 27),
    ],
)
def test_runs_are_counted_as_the_tokenizer_takes_them(text, run):
    assert longest_run(text) == run


def test_only_a_run_beyond_the_limit_is_refused():
    assert too_long_a_word([Message("user", "word " * 100)], 5) is None
    called = Message("assistant", "hi", calls=(Call("", "zoom", "ACGT" * 9),))
    for message in (Message("assistant", "hi", reasoning="ACGT" * 9), called):
        assert too_long_a_word([message], 35) is not None
    refused = too_long_a_word([Message("user", "hi"), Message("user", "ACGT" * 9)], 35)
    assert isinstance(refused, Refused)
    assert "36 characters without a break" in refused.why


@pytest.mark.parametrize(("limit", "sent"), [(20, False), (0, True), (50, True)])
async def test_it_never_reaches_the_engine(limit, sent):
    with FakeServer([Say("Yes."), End()]) as server:
        endpoint = Endpoint(server.url, longest_word=limit)
        asked = [Message("user", "A" * 40)]
        *_, last = [event async for event in stream(endpoint, asked, Options())]
    assert isinstance(last, Failed) is not sent
