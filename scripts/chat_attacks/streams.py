"""Hostile answers against the chat's client, its window and its plain lines."""

import asyncio
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chat_attacks.hostile import HostileStream, hostile_streams
from chat_attacks.hostile_server import HostileServer
from runner.base import text as texts
from runner.chat import client
from runner.chat.events import Failed, Finished, Text
from runner.chat.host import ChatSetup
from runner.chat.turn import Turn
from runner.chat.wire import Message, Options
from runner.net.endpoint import Endpoint
from tests.fakes.plain_user import PlainUser
from tests.fakes.sse_server import FakeHost

MOST_S: Final = 60.0  # for one answer, however busy the machine
MOST_BYTES: Final = 600 << 20  # of memory in all, above what a chat has at rest
PER_CHAT: Final = 20  # streams, then another chat begins
# What a terminal obeys, but for tabs and line feeds; and what turns the direction of a text.
_CONTROL: Final = frozenset(
    map(chr, {*range(32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)})
) - {"\t", "\n"}


@dataclass
class StreamReport:
    """What came of the streams. `stall_s`: the longest that the window did nothing else.

    `now`: the kind that is being answered.
    """

    sent: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest: str = ""
    stall_s: float = 0.0
    stalled: str = ""
    now: str = ""
    grown_bytes: int = 0
    failures: list[str] = field(default_factory=list)

    def took(self, kind: str, seconds: float) -> None:
        """Note how long an answer took."""
        self.sent[kind] += 1
        if seconds > self.slowest_s:
            self.slowest_s, self.slowest = seconds, kind
        if seconds > MOST_S:
            self.failures.append(f"{kind}: {seconds:.0f} s")


def memory() -> int:
    """Return the most bytes of memory that this process has had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def wrong_in(shown: str) -> str:
    """Return the first character that must not reach a terminal, as it is written; none: empty."""
    return next((ascii(char) for char in shown if char in _CONTROL), "")


def wrong_turn(turn: Turn, context: int) -> str:
    """Return what is wrong with a turn that has ended, empty where nothing is."""
    if not turn.phase.over:
        return "the answer never ended"
    if turn.error is not None:
        words = str(turn.error)
        if not words.strip().endswith((".", "!", "?", "DIR", "serve", "doctor", "log", "FILE")):
            return f"no sentence: {words[-80:]!r}"
        return wrong_in(texts.clean(words))
    if not turn.answered and not turn.note(context) and not turn.calls:
        return "nothing is said of an answer without a text"
    return ""


async def _ask(url: str) -> tuple[int, str]:
    """Ask by the client alone; return the characters of the answer, and what is wrong."""
    last: object = None
    size = 0
    async for each in client.stream(Endpoint(url), [Message("user", "hi")], Options()):
        last = each
        size += len(each.text) if isinstance(each, Text) else 0
    if isinstance(last, Failed) and not str(last.error).strip():
        return size, "an error without words"
    return size, "" if isinstance(last, Finished | Failed) else f"it ended with {last!r:.80}"


def against_client(streams: list[HostileStream]) -> StreamReport:
    """Send them to the client."""
    report = StreamReport()

    async def run() -> None:
        with HostileServer() as server:
            for each in streams:
                server.streams = [each]
                began = time.monotonic()
                try:
                    _, wrong = await asyncio.wait_for(_ask(server.url), MOST_S)
                except TimeoutError:
                    wrong = "it did not end"
                except Exception as error:  # noqa: BLE001 - what this is for
                    wrong = f"it raised {error!r:.200}"
                report.took(each.kind, time.monotonic() - began)
                if wrong:
                    report.failures.append(f"{each.kind}: {wrong}")

    asyncio.run(run())
    return report


def _setup(url: str) -> ChatSetup:
    @asynccontextmanager
    async def open_host() -> AsyncIterator[FakeHost]:
        yield FakeHost(url)

    return ChatSetup("Fake 1B", open_host, Options(), context=4096, sees=True)


def against_plain(streams: list[HostileStream]) -> StreamReport:
    """Send them to the chat in plain lines."""
    report = StreamReport()
    began = [0.0]

    def ended(kind: str) -> Callable[[], None]:
        def note() -> None:
            report.took(kind, time.monotonic() - began[0])
            began[0] = time.monotonic()

        return note

    with HostileServer() as server:
        server.streams = list(streams)
        lines: list[str | Callable[[], object]] = []
        for each in streams:
            lines += ["hi", ended(each.kind)]
        began[0] = time.monotonic()
        user = PlainUser(lines)
        user.run(_setup(server.url))
    assert user.chat is not None  # noqa: S101 - it ran
    _judge(report, streams, user.chat.talk.conversation.turns)
    if wrong := wrong_in(user.text):
        report.failures.append(f"{wrong} was printed")
    if "steprun failed" in user.text:
        report.failures.append(user.text[user.text.index("steprun failed") :][:300])
    return report


def _judge(report: StreamReport, streams: list[HostileStream], turns: list[Turn]) -> None:
    if len(turns) != len(streams):
        report.failures.append(f"{len(streams)} questions, and {len(turns)} turns")
    for each, turn in zip(streams, turns, strict=False):
        if wrong := wrong_turn(turn, 4096):
            report.failures.append(f"{each.kind}: {wrong}")


def against_window(streams: list[HostileStream]) -> StreamReport:
    """Send them to the window, without a terminal."""
    report = StreamReport()
    asyncio.run(_window(streams, report))
    return report


async def _window(streams: list[HostileStream], report: StreamReport) -> None:
    from runner.tui.app import ChatApp  # noqa: PLC0415 - only this needs Textual

    with HostileServer() as server:
        app = ChatApp(_setup(server.url))
        async with app.run_test(size=(80, 24)) as pilot:
            watch = asyncio.create_task(_stalls(report))
            while not app.host_task.alive():
                await pilot.pause(0.02)
            for number, each in enumerate(streams, 1):
                server.streams = [each]
                report.now = each.kind
                began = time.monotonic()
                app.composer.insert("hi")
                await pilot.press("enter")
                while len(app.conversation.turns) < number or app.busy:
                    await pilot.pause(0.02)
                    if time.monotonic() - began > 2 * MOST_S or app.failure is not None:
                        break
                await pilot.pause(0.1)
                report.took(each.kind, time.monotonic() - began)
                strips = app.screen._compositor.render_strips()  # noqa: SLF001 - what is drawn
                shown = "".join(segment.text for strip in strips for segment in strip)
                if wrong := wrong_in(shown):
                    report.failures.append(f"{each.kind}: {wrong} was drawn")
                if app.failure is not None:
                    report.failures.append(f"{each.kind}: the chat failed: {app.failure}")
                    break
            watch.cancel()
        _judge(report, streams, app.conversation.turns)


async def _stalls(report: StreamReport) -> None:
    """Note the longest time in which the event loop did not come round, of the processor's."""
    while True:
        before = time.thread_time()
        await asyncio.sleep(0.01)
        if (stall := time.thread_time() - before) > report.stall_s:
            report.stall_s, report.stalled = stall, report.now


AGAINST: Final[dict[str, Callable[[list[HostileStream]], StreamReport]]] = {
    "the client": against_client,
    "plain lines": against_plain,
    "the window": against_window,
}


def attack(count: int, dice: random.Random, only: str = "") -> dict[str, StreamReport]:
    """Send so many streams to each; say what came of it."""
    streams = list(hostile_streams(count, dice))
    reports = {}
    for name, against in AGAINST.items():
        if only not in name:
            continue
        whole = StreamReport()
        before = memory()
        for at in range(0, count, PER_CHAT):
            with tempfile.TemporaryDirectory(prefix="attack-streams-") as folder:
                _at_home(Path(folder))
                part = against(streams[at : at + PER_CHAT])
            whole.sent += part.sent
            if part.stall_s > whole.stall_s:
                whole.stall_s, whole.stalled = part.stall_s, part.stalled
            if part.slowest_s > whole.slowest_s:
                whole.slowest_s, whole.slowest = part.slowest_s, part.slowest
            whole.failures += part.failures
        whole.grown_bytes = memory() - before
        if whole.grown_bytes > MOST_BYTES:
            whole.failures.append(f"its memory grew by {whole.grown_bytes >> 20} MiB")
        reports[name] = whole
    return reports


def _at_home(folder: Path) -> None:
    import os  # noqa: PLC0415

    os.environ["STEPRUN_HOME"] = str(folder)
