"""The task that opens and closes the engine."""

import asyncio
from collections.abc import Callable

import pytest

from runner.base.errors import SteprunError
from runner.chat.events import Failed, Loading
from runner.chat.host import ChatSetup
from runner.chat.host_task import HostEvent, HostKnown, HostReady, HostTask
from runner.chat.wire import Options
from tests.fakes.sse_server import FakeHost, FakeHosts


async def test_the_task_reports_and_closes():
    hosts = FakeHosts("http://x")
    events: list[HostEvent] = []
    task = HostTask(hosts, events.append)
    task.start()
    while not task.alive():
        await asyncio.sleep(0)
    assert isinstance(events[-1], HostReady)
    await task.restart()
    await task.stop()
    await task.stop()
    assert [host.left for host in hosts.opened] == [True] * len(hosts.opened)
    assert task.host is None


class SlowHost(FakeHost):
    """Takes a while to come up and to be left, as an engine does."""

    def __init__(self, *, fails: bool) -> None:
        super().__init__("http://x")
        self.fails = fails
        self.leaving, self.may_leave = asyncio.Event(), asyncio.Event()

    async def wait_ready(self, on_wait):
        if self.fails:
            raise SteprunError("It hangs.")
        await asyncio.Event().wait()

    async def __aenter__(self):
        self.entered = True
        return self

    async def __aexit__(self, *_):
        self.leaving.set()
        await self.may_leave.wait()
        self.left = True


@pytest.mark.parametrize("fails", [False, True])
async def test_closing_the_host_is_never_cut_short(fails):
    """Whether it was asked to close while it loaded, or closes because it failed to."""
    host = SlowHost(fails=fails)
    events: list[HostEvent] = []
    task = HostTask(lambda: host, events.append)
    task.start()
    while not host.entered:
        await asyncio.sleep(0)
    stops = [asyncio.create_task(task.stop())]
    await asyncio.wait_for(host.leaving.wait(), 10)
    stops += [asyncio.create_task(task.stop()) for _ in range(2)]
    stops[1].cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not host.left
    assert not stops[2].done()
    host.may_leave.set()
    await asyncio.gather(*stops, return_exceptions=True)
    assert host.left
    assert not task.loading
    assert [type(told) for told in events] == ([Failed] if fails else [])


async def test_the_task_reports_any_failure():
    def broken():
        raise RuntimeError("no such thing")

    events: list[HostEvent] = []
    task = HostTask(broken, events.append)
    task.start()
    assert task._task is not None
    await task._task
    assert isinstance(events[-1], Failed)
    assert "no such thing" in str(events[-1].error)


async def test_what_the_host_is_is_found_out_first_and_again_each_time():
    hosts, waits = FakeHosts("http://x"), asyncio.Event()
    asked: list[str] = []

    async def find(on_wait: Callable[[float], None]) -> ChatSetup:
        on_wait(2.0)
        await waits.wait()
        asked.append("again" if asked else "first")
        return ChatSetup(asked[-1], hosts, Options(), find=find)

    events: list[HostEvent] = []
    task = HostTask(hosts, events.append, find)
    task.start()
    while not events:
        await asyncio.sleep(0)
    assert (events, hosts.opened, task.alive()) == ([Loading(2.0)], [], False)
    await task.stop()  # while it is still being found out
    assert not hosts.opened
    waits.set()
    for title in ("first", "again"):
        events.clear()
        await task.restart()
        while not task.alive():
            await asyncio.sleep(0)
        known = [event.setup.title for event in events if isinstance(event, HostKnown)]
        assert (known, isinstance(events[-1], HostReady)) == ([title], True)
    await task.stop()
