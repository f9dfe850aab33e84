"""`/model`: another one of a server's, or how to start another engine here."""

from functools import partial

from runner.chat.host import Another, ChatSetup
from runner.chat.wire import Options
from runner.cli import remote_chat
from runner.net.endpoint import Endpoint
from runner.tui.app import ChatApp
from runner.tui.chooser import Chooser
from tests.fakes.sse_server import End, FakeServer, Gate, Say
from tests.unit.tui.test_app import Chat, chat, user_home  # noqa: F401 - a fixture

OFFERS = {
    "data": [
        {"id": "step-3.7-flash", "max_model_len": 65536, "owned_by": "vllm"},
        {"id": "other-7b", "max_model_len": 8192, "owned_by": "vllm"},
    ]
}


def remote(server: FakeServer) -> ChatApp:
    endpoint = Endpoint(server.url)
    server.pages["/v1/models"] = OFFERS
    common: dict[str, object] = {}
    find = partial(remote_chat.ask_server, endpoint, "", Options(), common)
    return ChatApp(remote_chat.not_asked_yet(endpoint, "", Options(), common, find))


async def test_another_model_of_a_server_is_chosen_from_a_list():
    end = End("stop", 6000, 251)
    with FakeServer([Say("One."), end], [Say("Two."), End()]) as server:
        app = remote(server)
        async with app.run_test(size=(110, 30)) as pilot:
            c = Chat(app, pilot, server, None)  # type: ignore[arg-type]
            await c.ready()
            assert app.options.model == "step-3.7-flash"
            await c.type("hi")
            await c.sees("One.")
            await c.ready()
            await c.type("/model")
            await c.sees("Models · 2", "now · 65,536 tokens", "8,192 tokens")
            assert isinstance(app.screen, Chooser)
            await pilot.press(*"other", "enter")
            await c.sees("Now with other-7b. The next message reads all 6,251 tokens again")
            await c.ready()
            assert (app.setup.context, app.options.model) == (8192, "other-7b")
            assert "other-7b" in app.setup.title
            await c.type("and now?")
            await c.sees("Two.")
            assert [each["model"] for each in server.requests] == ["step-3.7-flash", "other-7b"]
            assert len(server.requests[1]["messages"]) == 3, "the conversation stays"
            assert "--model other-7b" in app.farewell[-1]


async def test_a_model_is_named_in_part_and_one_that_is_not_there_is_refused():
    with FakeServer() as server:
        app = remote(server)
        async with app.run_test(size=(110, 30)) as pilot:
            c = Chat(app, pilot, server, None)  # type: ignore[arg-type]
            await c.ready()
            await c.type("/model OTHER")
            await c.sees("Now with other-7b.")
            await c.until(lambda: app.setup.context == 8192)
            await c.ready()
            await c.type("/model other-7b")
            await c.sees("already")
            await c.type("/model gpt")
            await c.sees("The server offers no model 'gpt'.", "/model lists them")
            assert app.composer.text == "/model gpt"
            app.composer.take()
            server.pages.clear()
            await c.type("/model")
            await c.sees("lists no models")


async def test_not_while_it_answers():
    gate = Gate()
    with FakeServer([Say("A part"), gate, End()]) as server:
        app = remote(server)
        async with app.run_test(size=(110, 30)) as pilot:
            c = Chat(app, pilot, server, None)  # type: ignore[arg-type]
            await c.ready()
            await c.type("hi")
            await c.sees("A part")
            await c.type("/model other-7b")
            await c.sees("Still answering")
            gate.open()
            await c.ready()


async def test_with_an_engine_of_its_own_it_says_what_to_type():
    others = (Another("Faster by drafts, without images", ("--demo", "--profile", "fast")),)
    async with chat([Say("One."), End("stop", 6000, 251)], others=others, size=(120, 30)) as c:
        c.app.host_task.loaded_s = 31.0
        await c.type("hi")
        await c.ready()
        await c.type("/model")
        session = c.app.conversation.session.id
        await c.reads("Leave with Ctrl+Q, then type one of these.", "took 31 s to load")
        await c.reads(f"steprun chat --resume {session} --demo --profile fast")
        await c.reads("The next message reads all 6,251 tokens again")


async def test_a_chat_that_can_change_nothing_says_so():
    async with chat() as c:
        await c.type("/model")
        await c.sees("This chat cannot change its model")
        assert isinstance(c.app.setup, ChatSetup)
