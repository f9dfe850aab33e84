"""What `/status` shows, the memory in the status line, and a server that is gone."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.base.units import GIB
from runner.chat.dialect import LLAMA_SERVER
from runner.chat.events import Usage
from runner.chat.figures import ServerFigures, parse_figures
from runner.chat.host import ChatSetup, Remote
from runner.chat.steps import StepKind, TurnStep
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Options
from runner.net.endpoint import Endpoint
from runner.tui.app import ChatApp
from runner.tui.figure_rows import answer_rows, gauge, memory_rows, memory_text
from runner.tui.panel import panel_content
from runner.tui.wings.status_panel import StatusPanel
from tests.fakes.sse_server import Die, End, FakeServer, Gate, Say, Think
from tests.unit.tui.test_app import Chat, chat, user_home  # noqa: F401 - a fixture

STATUS = "/steprun/status"
DOCUMENT = {
    "engine": "llama.cpp b11549",
    "quant": "IQ4_XS",
    "memory_bytes": 96 * GIB,
    "limit_bytes": 110 * GIB,
    "resident_bytes": 87 * GIB,
    "restarts": 1,
    "uptime_s": 720,
}


async def test_status_shows_it_all_in_one_panel():
    end = End("stop", 6251, 312, cached=6208)
    async with chat([Think("hm"), Say("Fine."), end], size=(130, 45)) as c:
        c.server.pages[STATUS] = DOCUMENT
        c.server.headers = {"x-steprun-restored": "6000", "x-steprun-reread": "the tools differ"}
        c.server.headers["x-steprun-read-rate"] = "100"
        await c.type("hi")
        await c.sees("memory 87.0 / 96.0 GiB")
        await c.ready()
        await c.type("/status")
        await c.sees("Engine", "llama.cpp b11549 IQ4_XS", "up 12 min, engine restarts: 1")
        await c.sees("96.00 GiB of 110.00 GiB that it may take", "87.00 GiB, 91 % of the plan")
        await c.sees("6,563 / 4,096 (100 %)", "43 of 6,251 tokens at 100 tokens/s")
        await c.sees("6,208 tokens, 6,000 of them from the disk; 62 s saved")
        await c.sees("the tools differ.", "312 tokens at 31.2 tokens/s", "after 0.")
        await c.sees("thought       1 token\n"[:-1], "no limit", "the server's own")
        await c.sees(c.app.conversation.session.id, "Esc closes this.")
        c.server.pages[STATUS] = {**DOCUMENT, "resident_bytes": 90 * GIB}
        await c.sees("90.00 GiB, 94 % of the plan")
        await c.pilot.press("escape")
        await c.gone("of the plan")


@pytest.mark.parametrize("size", [(40, 10), (80, 24)])
async def test_the_panel_fits_a_small_terminal(size):
    async with chat([Say("Fine."), End()], size=size) as c:
        await c.type("hi")
        await c.ready()
        await c.type("/status")
        await c.sees("Engine", "state")
        await c.pilot.press("end")
        await c.sees("Esc closes this.")


async def test_a_server_of_another_kind_has_no_memory_to_show():
    async with chat([Say("Fine."), End()]) as c:
        await c.type("hi")
        await c.ready()
        await c.type("/status")
        await c.sees("Last answer")
        assert "Memory" not in c.screen()
        assert "memory" not in c.screen()


@pytest.mark.parametrize(
    "found",
    [None, [], {}, {"memory_bytes": 1}, {"resident_bytes": 5}, "x", {"memory_bytes": "x"}],
)
def test_what_is_no_status_of_ours_counts_as_none(found):
    assert parse_figures(found) is None


def test_figures_that_are_spoiled_are_unknown():
    spoiled = {**DOCUMENT, "memory_bytes": -1, "limit_bytes": "many", "engine": ["x"]}
    assert parse_figures(spoiled) == replace(
        parse_figures(DOCUMENT) or ServerFigures(), planned=0, limit=0, engine=""
    )


def test_memory_in_words():
    assert memory_text(None) == memory_text(ServerFigures(planned=5)) == ""
    assert memory_text(ServerFigures(planned=20 << 20, resident=5 << 20)) == "memory 5 MiB / 20 MiB"
    rows = dict(memory_rows(ServerFigures(planned=GIB, limit=2 * GIB, free=GIB)))
    assert rows == {
        "plan": "1.00 GiB of 2.00 GiB that it may take",
        "free": "1.00 GiB on this machine",
    }


def test_what_was_given_up_is_shown_and_cannot_reach_the_terminal() -> None:
    lowered = {"lowered": {"gave_up": ["half of the context\x1b[2J", 7]}}
    figures = parse_figures({**DOCUMENT, **lowered})
    assert figures is not None
    (row,) = [words for name, words in memory_rows(figures) if name == "given up"]
    assert row.startswith("half of the context")
    assert "\x1b" not in row
    odds: tuple[object, ...] = (7, {"gave_up": "x"}, [])
    for odd in odds:
        assert (parse_figures({**DOCUMENT, "lowered": odd}) or figures).gave_up == ""


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_the_gauge_is_always_as_wide(part, whole):
    assert len(gauge(part, whole, 10)) == 10
    assert gauge(whole, whole, 10) == ("█" if whole else "░") * 10


def test_drafts_and_thinking_are_told():
    steps = [TurnStep(StepKind.THINKING, "hm", 12.4, 300), TurnStep(StepKind.TEXT, "Fine.", 1, 12)]
    usage = Usage(50, 0, 312, drafted=63, accepted=45, first_token_s=0.42)
    turn = Turn("hi", phase=TurnState.DONE, steps=steps, usage=usage)
    rows = dict(answer_rows(turn))
    assert rows["drafts"] == "45 of 63 accepted (71 %)"
    assert rows["thought"] == "300 tokens in 12 s"
    assert rows["first token"] == "after 0.4 s"
    assert panel_content("Step", [("Last answer", [*rows.items()])], 30).plain.count("\n") > 8


async def test_only_servers_of_steprun_are_asked_for_their_figures():
    for gateway in (False, True):
        with FakeServer([Say("Fine."), End()]) as server:
            server.pages[STATUS] = DOCUMENT
            app = await remote(server)
            app.setup = replace(app.setup, gateway=gateway)
            async with app.run_test(size=(130, 30)) as pilot:
                c = Chat(app, pilot, server, None)  # type: ignore[arg-type]
                await c.until(app.host_task.alive)
                await c.type("hi")
                await c.sees("Fine.")
                await c.ready()
                if gateway:
                    await c.sees("memory 87.0 / 96.0 GiB")
                else:
                    app.wing(StatusPanel).ask()
                    assert not [each for each in app.workers if each.group == "figures"]
                    assert app.figures is None


# --- a server that is gone --------------------------------------------------------------------


async def remote(server, size=(100, 30)):
    endpoint = Endpoint(server.url)
    setup = ChatSetup(
        "a model", lambda: Remote(endpoint), Options(dialect=LLAMA_SERVER), sees=True, own=False
    )
    return ChatApp(setup)


@pytest.mark.parametrize("script", [[Say("A part"), Die()], [Say("A part"), End()]])
async def test_a_server_that_is_gone_is_no_server(script):
    gate = Gate()
    with FakeServer([script[0], gate, script[1]]) as server:
        app = await remote(server)
        async with app.run_test(size=(100, 30)) as pilot:
            c = Chat(app, pilot, server, None)  # type: ignore[arg-type]
            await c.until(app.host_task.alive)
            await c.type("hi")
            await c.sees("A part")
            closing = asyncio.create_task(asyncio.to_thread(_end, server))
            await asyncio.sleep(0.05)
            gate.open()
            await closing
            await c.until(lambda: not app.busy)
            if isinstance(script[1], End):
                assert "ready" in c.screen(), "nothing shows it yet"
                await c.type("and now?")
            await c.sees("no server")
            await c.reads("/retry looks for the server again")


def _end(server):
    server._server.shutdown()
    server._server.server_close()


async def test_a_server_that_refuses_or_hangs_up_is_there():
    with FakeServer([Die()]) as server:
        app = await remote(server)
        async with app.run_test(size=(100, 30)) as pilot:
            c = Chat(app, pilot, server, None)  # type: ignore[arg-type]
            await c.until(app.host_task.alive)
            await c.type("hi")
            await c.until(lambda: c.turn.phase is TurnState.FAILED and not app.busy)
            assert app.host_task.alive()
            assert "ready" in c.screen()
