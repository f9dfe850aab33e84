"""A chat with a server that the user names: what it asks of it, and when."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from runner.base.errors import SteprunError, UsageError
from runner.chat.dialect import LLAMA_SERVER
from runner.chat.host import ChatSetup
from runner.chat.wire import Options
from runner.cli import remote_chat
from runner.net.endpoint import Endpoint
from tests.fakes.sse_server import FakeServer

COMMON = {"pictures": (Path("cat.png"),), "show_thinking": False, "resume": ""}
PROPS = {
    "default_generation_settings": {"n_ctx": 4096},
    "modalities": {"vision": True},
    "model_path": "/models/Step-3.7-Flash-IQ4_XS-00001-of-00003.gguf",
}


def unasked(url: str) -> ChatSetup:
    endpoint = Endpoint(url)
    find = partial(remote_chat.ask_server, endpoint, "", Options(effort="low"), COMMON)
    return remote_chat.not_asked_yet(endpoint, "", Options(effort="low"), COMMON, find)


async def test_nothing_is_asked_until_the_window_is_open() -> None:
    setup = unasked("http://127.0.0.1:9")  # nobody listens there
    assert (setup.title, setup.sees, setup.prices, setup.own) == (
        "a model at http://127.0.0.1:9", True, False, False
    )  # fmt: skip
    assert setup.find is not None
    with pytest.raises(SteprunError, match="No server answers"):
        await setup.find(lambda _: None)


async def test_what_the_server_says_of_itself_is_known_then() -> None:
    with FakeServer() as server:
        server.pages = {"/props": PROPS, "/v1/models": {"data": [{"id": "flash"}]}}
        setup = unasked(server.url)
        assert setup.find is not None
        found = await setup.find(lambda _: None)
        assert (found.title, found.context) == (f"flash at {server.url}", 4096)
        assert (found.sees, found.prices, found.own) == (True, True, False)
        assert found.options == Options(effort="low", model="flash", dialect=LLAMA_SERVER)
        assert found.find is not None, "asked again when it is looked for again"
        assert not found.gateway
        server.pages["/v1/models"] = {"data": [{"id": "flash", "owned_by": "steprun"}]}
        assert (await setup.find(lambda _: None)).gateway
        # With a server that is blind the window says so; a single question is refused.
        server.pages["/props"] = {**PROPS, "modalities": {"vision": False}}
        assert not (await setup.find(lambda _: None)).sees
        ask = partial(remote_chat.ask_server, Endpoint(server.url), "", Options(), COMMON)
        with pytest.raises(UsageError, match="cannot see images"):
            await ask(None)


async def test_a_server_that_loads_its_model_is_waited_for() -> None:
    loading = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    with FakeServer() as server:
        server.pages = {"/props": loading, "/v1/models": {"data": [{"id": "step-3.7-flash"}]}}
        server.statuses = {"/props": 503}
        setup = unasked(server.url)
        assert setup.find is not None
        waits: list[float] = []

        def on_wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                server.pages["/props"], server.statuses = PROPS, {}

        found = await asyncio.wait_for(setup.find(on_wait), 30)
        assert len(waits) >= 3
        assert found.options.dialect is LLAMA_SERVER, "and not taken for some other server"
