"""MCP servers as a toolbox: real ones by the mcp package, and hostile ones."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from runner.base import paths
from runner.chat.tools.mcp import relay
from runner.chat.tools.mcp.box import McpToolbox, ServerState
from runner.chat.tools.mcp.config import McpServer
from runner.chat.tools.mcp.permissions import Answer
from runner.chat.tools.toolbox import Call
from tests.fakes import bad_mcp_server

PATIENCE_S = 40.0
GOOD = (str(Path(bad_mcp_server.__file__).with_name("mcp_server.py")),)


@pytest.fixture(autouse=True)
def user_home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path / "home"))


def program(*argv, **more):
    return McpServer(command=sys.executable, args=tuple(map(str, argv)), **more)


def bad(kind, *more):
    return program(bad_mcp_server.__file__, kind, *more)


class Chat:
    """A toolbox, and the answers of a user."""

    def __init__(self, *answers):
        self.asked = []
        self.answers = list(answers)
        self.gate = None
        self.asking = 0
        self.box = McpToolbox(self._ask, lambda: None)

    async def _ask(self, asked):
        self.asked.append(asked)
        self.asking += 1
        assert self.asking == 1
        try:
            if self.gate is not None:
                await self.gate.wait()
            return self.answers.pop(0) if self.answers else Answer.ONCE
        finally:
            self.asking -= 1

    async def on(self, config, name="s"):
        self.box.switch_on(name, config)
        await self.until(lambda: self.entry(name).state is not ServerState.STARTING)
        return self.entry(name)

    def entry(self, name="s"):
        return self.box.entry(name)

    async def call(self, name, /, **arguments):
        return await self.box.run(Call("1", name, json.dumps(arguments)), ())

    async def until(self, condition):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "never came to be"
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def chat(*answers, children=0):
    before = {each.pid for each in psutil.Process().children(recursive=True)}  # of other tests
    user = Chat(*answers)
    try:
        yield user
    finally:
        await user.box.close()
        after = {each.pid for each in psutil.Process().children(recursive=True)}
        assert len(after - before) <= children


async def test_a_real_server_offers_its_tools_and_runs_calls(monkeypatch, tmp_path):
    monkeypatch.setenv("HANDED_ON", "here")
    monkeypatch.setenv("SECRET", "not here")
    async with chat() as user:
        entry = await user.on(program(*GOOD, env=("HANDED_ON",)))
        assert entry.state is ServerState.ON, entry.why
        tools = {tool.name: tool for tool in user.box.tools}
        assert tools["s__add"].description == "Add two numbers."
        assert tools["s__add"].source == "s"
        assert tools["s__add"].parameters["required"] == ["a", "b"]
        assert "\x1b" not in tools["s__fail"].description
        assert (await user.call("s__add", a=2, b=3)).text == "5"
        assert user.asked[0].offer.tool.name == "s__add"
        assert user.asked[0].arguments == {"a": 2, "b": 3}
        assert (await user.call("s__variable", name="HANDED_ON")).text == "here"
        assert (await user.call("s__variable", name="SECRET")).text == "(not set)"
        failed = await user.call("s__fail")
        assert failed.failed
        assert "It failed." in failed.text
        assert "\x1b" not in failed.text
        wrong = await user.call("s__add", a="x")
        assert wrong.failed
        for text in ("{", "[1]"):
            result = await user.box.run(Call("1", "s__add", text), ())
            assert result.failed
            assert "not a JSON object" in result.text
        user.box.switch_off("s")
        assert user.box.tools == []
        gone = await user.call("s__add", a=1, b=1)
        assert gone.failed
        assert "no tool s__add" in gone.text


async def test_results_are_bounded():
    async with chat() as user:
        await user.on(program(*GOOD))
        too_long = await user.call("s__long", size=10_000_000)  # and the same as a JSON value
        assert too_long.failed
        assert "longer than 8 MiB" in too_long.text
        long = await user.call("s__long", size=3_000_000)
        assert len(long.text) < 32_000
        assert long.text.endswith("[Cut here: the result is longer than 30 KiB of text.]")
        shown = await user.call("s__pictures", count=6)
        assert len(shown.pictures) == 4
        assert shown.pictures[0].width == 60
        assert "far too many pixels" in shown.text
        assert "not a" in shown.text
        assert "2 more images are left out" in shown.text


async def test_a_server_that_ends_during_a_call_says_why():
    async with chat() as user:
        await user.on(program(*GOOD))
        result = await user.call("s__die")
        assert result.failed
        assert "ended during the call" in result.text
        await user.until(lambda: user.entry().state is ServerState.ENDED)
        assert "It ended with status 7." in user.entry().why
        assert "a last word" in user.entry().why
        assert "\x1b" not in user.entry().why
        assert user.box.tools == []
        again = await user.on(program(*GOOD))
        assert again.state is ServerState.ON


async def test_a_call_has_its_time_and_can_be_cancelled(tmp_path):
    async with chat() as user:
        await user.on(program(*GOOD, timeout_s=1))
        late = await user.call("s__slow", path=str(tmp_path / "a"))
        assert late.failed
        assert "did not answer within 1 second" in late.text
        assert (await user.call("s__add", a=1, b=1)).text == "2"
    async with chat() as user:
        await user.on(program(*GOOD))
        task = asyncio.create_task(user.call("s__slow", path=str(tmp_path / "b")))
        await user.until(lambda: user.asked)
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await user.until((tmp_path / "b").exists)


async def test_each_call_is_asked_for_until_the_user_decides():
    answers = (Answer.NOT_NOW, Answer.ONCE, Answer.ALWAYS, Answer.NEVER)
    async with chat(*answers) as user:
        await user.on(program(*GOOD))
        refused = await user.call("s__add", a=1, b=1)
        assert refused.failed
        assert "did not allow this call" in refused.text
        assert (await user.call("s__add", a=1, b=1)).text == "2"
        assert (await user.call("s__add", a=1, b=1)).text == "2"
        assert len(user.asked) == 3
        assert (await user.call("s__add", a=1, b=1)).text == "2"
        never = await user.call("s__variable", name="HOME")
        assert never.failed
        assert "never allows" in never.text
        assert len(user.asked) == 4
        assert (await user.call("s__variable", name="HOME")).failed
        assert len(user.asked) == 4
        stored = user.box.permissions.path
        assert stored.stat().st_mode & 0o777 == 0o600
    async with chat(Answer.NOT_NOW) as user:  # another chat remembers
        await user.on(program(*GOOD))
        assert (await user.call("s__add", a=1, b=1)).text == "2"
        user.box.permissions.forget("s", "add")
        assert (await user.call("s__add", a=1, b=1)).failed
        assert [asked.changed for asked in user.asked] == [False]


async def test_a_tool_that_changes_is_asked_for_again():
    async with chat(Answer.ALWAYS, Answer.ONCE, Answer.NOT_NOW) as user:
        await user.on(program(*GOOD))
        assert (await user.call("s__add", a=1, b=1)).text == "2"
        assert (await user.call("s__change")).text == "changed"
        await user.until(
            lambda: any("send all files" in tool.description for tool in user.box.tools)
        )
        assert (await user.call("s__add", a=1, b=1)).failed
        assert user.asked[-1].changed


async def test_a_tool_that_changes_while_the_user_decides_does_not_run():
    async with chat() as user:
        await user.on(program(*GOOD))
        user.gate = asyncio.Event()
        task = asyncio.create_task(user.call("s__add", a=1, b=1))
        await user.until(lambda: user.asked)
        user.box.switch_off("s")
        user.gate.set()
        result = await task
        assert result.failed
        assert "ended or changed" in result.text


async def test_two_calls_are_asked_for_one_after_the_other():
    async with chat(Answer.ALWAYS) as user:
        await user.on(program(*GOOD))
        calls = [user.call("s__add", a=1, b=n) for n in range(3)]
        results = await asyncio.gather(*calls)
        assert [result.text for result in results] == ["1", "2", "3"]
        assert len(user.asked) == 1  # the others were allowed by its answer


async def test_waiting_for_the_user_costs_no_time_of_the_call_and_stops_with_it():
    async with chat() as user:
        await user.on(program(*GOOD, timeout_s=1))
        user.gate = asyncio.Event()
        task = asyncio.create_task(user.call("s__add", a=1, b=1))
        await user.until(lambda: user.asking)
        await asyncio.sleep(1.3)
        user.gate.set()
        assert (await task).text == "2"
        user.gate = asyncio.Event()
        task = asyncio.create_task(user.call("s__add", a=1, b=1))
        await user.until(lambda: user.asking)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert user.asking == 0


# --- hostile servers --------------------------------------------------------------------------

ENDS = {
    "garbage": "no MCP messages",
    "endless": "more than 8 MiB",
}


@pytest.mark.parametrize(("kind", "why"), ENDS.items())
async def test_a_server_that_sends_rubbish_is_ended(kind, why):
    async with chat() as user:
        entry = await user.on(bad(kind))
        assert entry.state is ServerState.ENDED
        assert why in entry.why
        assert "\x1b" not in entry.why


async def test_a_server_that_cannot_start_or_ends_at_once_says_why():
    async with chat() as user:
        entry = await user.on(McpServer(command="/not-there/server"))
        assert "/not-there/server cannot be started: No such file" in entry.why
        entry = await user.on(program("-c", "raise SystemExit('no key')"), "t")
        assert entry.why == "It ended with status 1. Its last line: no key"
        entry = await user.on(McpServer(command="x", env=("NOT_SET",)), "u")
        assert "NOT_SET is not set." in entry.why


async def test_a_server_that_hangs_at_its_start_is_given_up(monkeypatch):
    from runner.chat.tools.mcp import connection

    monkeypatch.setattr(connection, "START_S", 1.0)
    async with chat() as user:
        entry = await user.on(bad("hang"))
        assert entry.state is ServerState.ENDED
        assert "did not start within 1 second" in entry.why


async def test_a_flood_keeps_no_other_server_from_work():
    async with chat() as user:
        user.box.switch_on("f", bad("flood"))
        await user.on(program(*GOOD))
        assert (await user.call("s__add", a=1, b=1)).text == "2"
        assert user.entry("f").state is ServerState.STARTING


def test_a_flood_passes_no_faster_than_a_chat_can_take_it(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    throttle = relay.Throttle()
    for _ in range(2000):
        throttle.take(100)
    assert now[0] < 1
    for _ in range(640):
        throttle.take(100)
    assert 9 < now[0] < 11
    for _ in range(10):
        throttle.take(1 << 20)
    assert now[0] > 14


async def test_a_server_may_print_a_little():
    async with chat() as user:
        entry = await user.on(bad("few_prints"))
        assert [tool.name for tool in user.box.tools] == ["s__t"], entry.why
        log = paths.state_dir() / "logs" / "mcp-s.log"
        assert "not a message: Starting up" in log.read_text()


async def test_tools_are_bounded_in_number():
    async with chat() as user:
        entry = await user.on(bad("many_tools"))
        assert entry.state is ServerState.ON, entry.why
        assert len(user.box.tools) == 128
        assert entry.offers.listed == 10_000
        assert entry.offers.left_out == 9_872


async def test_tools_get_names_of_their_own_and_bounded_texts():
    async with chat() as user:
        entry = await user.on(bad("odd_tools"))
        assert entry.state is ServerState.ON, entry.why
        tools = {tool.name: tool for tool in user.box.tools}
        assert list(tools) == ["s__a_b", "s__a_b_2", f"s__{'n' * 61}", "s__deep", "s__told"]
        assert entry.offers.left_out == 3
        assert tools["s__told"].description.startswith("[31mred long")
        assert len(tools["s__told"].description) == 1024


async def test_answers_that_are_none_are_failures():
    async with chat() as user:
        await user.on(bad("bad_answers"))
        result = await user.call("s__t")
        assert result.failed
        assert "not one that MCP has" in result.text
        await user.on(bad("too_long"), "l")
        result = await user.call("l__t")
        assert result.failed
        assert "longer than 8 MiB" in result.text
        assert user.entry("l").state is ServerState.ON


async def test_the_log_of_a_server_is_bounded():
    async with chat() as user:
        await user.on(bad("stderr_flood"))
        assert user.box.tools
        log = paths.state_dir() / "logs" / "mcp-s.log"
        assert 0 < log.stat().st_size <= 4 << 20
        assert log.stat().st_mode & 0o777 == 0o600


def _gone(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a session of its own is not found")
async def test_nothing_is_left_of_a_server(tmp_path):
    noted = tmp_path / "pids"
    async with chat() as user:
        await user.on(bad("orphans", noted))
        pids = [int(pid) for pid in noted.read_text().split()]
        user.box.switch_off("s")
        await user.until(lambda: all(map(_gone, pids)))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a session of its own is not found")
def test_a_server_does_not_outlive_a_chat_that_is_killed(tmp_path):
    noted = tmp_path / "pids"
    code = f"""
import asyncio, sys
from runner.chat.tools.mcp.box import McpToolbox
from runner.chat.tools.mcp.config import McpServer
async def main():
    box = McpToolbox(None, lambda: None)
    args = ({bad_mcp_server.__file__!r}, "orphans", {str(noted)!r})
    box.switch_on("s", McpServer(command=sys.executable, args=args))
    while not box.tools: await asyncio.sleep(0.01)
    print("on", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"on\n"
        owner.send_signal(signal.SIGKILL)
    pids = [int(pid) for pid in noted.read_text().split()]
    deadline = time.monotonic() + 15
    while not all(map(_gone, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
