"""`/model`: another one of a server's, or the engine here started in another way."""

from dataclasses import replace
from functools import partial

from runner.base.errors import SteprunError
from runner.chat.host import Another, ChatSetup
from runner.chat.wire import Options
from runner.cli import remote_chat
from runner.net.endpoint import Endpoint
from runner.tui.app import ChatApp
from runner.tui.chooser import Chooser
from runner.tui.wings.going_on import GoingOn
from tests.fakes.sse_server import End, FakeHosts, FakeServer, Gate, Say
from tests.unit.tui.test_app import Chat, chat, picture, user_home  # noqa: F401 - a fixture

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


async def test_what_one_model_refused_another_may_take():
    with FakeServer([Say("One."), End()], [Say("Two."), End()]) as server:
        app = remote(server)
        async with app.run_test(size=(110, 30)) as pilot:
            c = Chat(app, pilot, server, None)  # type: ignore[arg-type]
            await c.ready()
            app.tools.refused = app.wing(GoingOn)._refused = True
            await c.type("/model other")
            await c.sees("Now with other-7b.")
            await c.ready()
            assert (app.tools.refused, app.wing(GoingOn)._refused) == (False, False)


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


def another(c_hosts: FakeHosts, **more: object) -> Another:
    async def find(on_wait: object) -> ChatSetup:
        assert c_hosts.opened[-1].left, "they may not fit at once"
        if (fails := more.get("fails")) is not None:
            assert isinstance(fails, SteprunError)
            raise fails
        return ChatSetup("Fake fast", c_hosts, Options(), context=8192, blind_why="It is fast.")

    sees = bool(more.get("sees"))
    return Another("Faster by drafts", ("--demo", "--profile", "fast"), find, sees=sees)


async def test_the_engine_of_the_chat_is_started_in_another_way():
    async with chat([Say("One."), End("stop", 6000, 251)], [Say("Two."), End()]) as c:
        c.app.setup = replace(c.app.setup, others=(another(c.hosts),))
        c.app.host_task.loaded_s = 31.0
        await c.type("hi")
        await c.ready()
        await c.type("/model")
        await c.sees("Start the engine again in about 31 s. The next message reads all")
        await c.sees("about 63 s · 1")
        await c.sees("Faster by drafts", "--demo --profile fast")
        await c.pilot.press("enter")
        await c.until(lambda: c.app.setup.title == "Fake fast")
        await c.ready()
        assert len(c.hosts.opened) == 2
        assert c.app.setup.context == 8192
        await c.type("and now?")
        await c.sees("Two.")
        assert len(c.server.requests[1]["messages"]) == 3, "the conversation stays"


async def test_an_engine_that_cannot_be_started_leaves_the_way_back():
    async with chat([Say("One."), End()], [Say("Two."), End()]) as c:
        fails = SteprunError("It does not fit.", next="steprun plan")
        c.app.setup = replace(c.app.setup, others=(another(c.hosts, fails=fails),))
        await c.type("hi")
        await c.ready()
        await c.type("/model fast")
        await c.sees("It does not fit.", "/retry starts the engine again")
        assert c.app.setup.title == "Fake 1B"
        await c.type("/retry")
        await c.sees("Two.")
        assert len(c.hosts.opened) == 2


async def test_a_chat_with_images_keeps_an_engine_that_sees(tmp_path):
    async with chat([Say("A cat."), End()]) as c:
        c.app.setup = replace(c.app.setup, others=(another(c.hosts),))
        await c.paste(str(picture(tmp_path)))
        await c.sees("[Image #1]")
        await c.type("what is it?")
        await c.sees("A cat.")
        await c.ready()
        await c.type("/model")
        await c.sees("This chat cannot change its engine: it has images.")


async def test_a_chat_that_can_change_nothing_says_so():
    async with chat() as c:
        await c.type("/model")
        await c.sees("This chat cannot change its engine")
        assert isinstance(c.app.setup, ChatSetup)
