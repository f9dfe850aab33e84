"""A real engine that is stopped for want of memory comes back one rung lower, and climbs."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runner.base.errors import SteprunError
from runner.engine.process.supervisor import EngineProcess, free_port
from runner.gateway import run
from runner.gateway.engine.rungs import ServedRung
from runner.gateway.settings import Settings
from runner.gateway.timing import Timing
from runner.kv.depends import Depends
from runner.kv.kept import Kept
from runner.kv.policy import Bounds
from runner.plan.launch import Floors, LaunchSpec
from tests.engine.conftest import ONE_THREAD
from tests.engine.test_gateway_stays_up import PROGRAM
from tests.unit.gateway.conftest import Told

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(sys.platform != "linux", reason="the guard's reading, and control groups"),
]
SOON = Timing(first_s=0.1, longest_s=0.1, room_s=0.1, save_idle_s=0.2, quiet_look_s=0.1)
RULES = "".join(f"Rule {number}: write short and true sentences.\n" for number in range(60))
MIB = 1 << 20


class StarvedEngine(EngineProcess):
    """A real engine; when a test kills it, it says that it was for want of memory."""

    def verdict(self) -> SteprunError:
        error = super().verdict()
        self.short_of_memory = True
        return error


def spec_of(tiny: Path, kept: Kept, context: int, floors: Floors | None = None) -> LaunchSpec:
    kept.slot_folder.mkdir(parents=True, exist_ok=True)
    words = (
        *("--model", str(tiny / "tiny-step.gguf"), "--ctx-size", str(context), "--parallel", "1"),
        *("--jinja", "--threads", "1", "--threads-batch", "1", "--ctx-checkpoints", "4"),
        *("--slot-save-path", f"{kept.slot_folder}{os.sep}", "--slot-prompt-similarity", "0"),
    )
    return LaunchSpec(words, total_bytes=1, floors=floors)


class Asking:
    """Asks a gateway in this loop."""

    def __init__(self, url: str, told: Told, engines: list[EngineProcess]) -> None:
        self.url, self.told, self.engines = url, told, engines

    async def _json(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, self.url + path, json=body) as reply,
        ):
            return reply.status, await reply.json()

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self._json("GET", "/steprun/status"))[1]
        return found

    async def climb(self) -> int:
        return (await self._json("POST", "/steprun/climb", {}))[0]

    async def cached(self, *turns: str) -> tuple[int, int]:
        """Ask with these turns; return the tokens of the prompt and those that were cached."""
        roles = ("user", "assistant") * len(turns)
        messages = [{"role": "system", "content": RULES}]
        messages += [{"role": role, "content": words} for role, words in zip(roles, turns)]  # noqa: B905
        body = {"messages": messages, "max_tokens": 2, "ignore_eos": True}
        code, answer = await self._json("POST", "/v1/chat/completions", body)
        assert code == 200, answer
        usage = answer["usage"]
        return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]

    async def until(self, what: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while not what(found := await self.status()):
                await asyncio.sleep(0.05)
        return found


@contextlib.asynccontextmanager
async def gateway(
    tiny: Path, home: Path, first_floors: Floors | None = None
) -> AsyncIterator[Asking]:
    """Run a gateway with two rungs, 8,192 and 4,096 tokens of context.

    `first_floors`: of the first engine alone.
    """
    kept = Kept(home / "kv", Depends("e", "w", "", "", "f16"), Bounds(1 << 30, 0, 1 << 40))
    engines: list[EngineProcess] = []

    def make(context: int) -> Callable[[], EngineProcess]:
        def made() -> EngineProcess:
            floors = first_floors if not engines else None
            engines.append(StarvedEngine(PROGRAM, spec_of(tiny, kept, context, floors)))
            return engines[-1]

        return made

    planned = Settings(port=0, context=8192, kept=kept)
    rungs = [
        ServedRung(planned, make(8192), "", 2 * MIB),
        ServedRung(replace(planned, context=4096), make(4096), "half of the context", MIB),
    ]
    told, stop = Told(asyncio.get_running_loop().create_future()), run.StopSignal()
    running = run.run(planned, make(8192), told, stop, timing=SOON, rungs=lambda: rungs)
    task = asyncio.create_task(running)
    try:
        yield Asking(f"http://127.0.0.1:{await told.port}", told, engines)
    finally:
        stop.ask()
        stop.ask()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_conversation_goes_on_with_half_of_the_context_and_is_not_read_again(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    # What is read faster than a disk writes is not worth it, and this machine may be quick.
    monkeypatch.setattr("runner.gateway.prompts.choose.worth_writing", lambda *_: True)
    async with gateway(tiny, tmp_path) as asking:
        await asking.until(lambda found: found["state"] == "ready")
        first, _ = await asking.cached("Hi.")
        saved = tmp_path / "kv"
        async with asyncio.timeout(30):
            while not any(each.stat().st_size > 1000 for each in saved.glob("*/*")):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)  # the file is finished in a thread
        os.kill(asking.engines[0].pid, 9)
        found = await asking.until(lambda found: found["restarts"] and found["state"] == "ready")
        assert (found["lowered"]["rung"], found["context"]) == (1, 4096)
        asked, cached = await asking.cached("Hi.", "Hello.", "How are you?")
        assert asked > first
        assert cached > first * 0.8, "from the disk: the engine is another one"
        assert await asking.climb() == 202
        found = await asking.until(lambda found: "lowered" not in found)
        found = await asking.until(lambda found: found["state"] == "ready")
        assert (found["context"], found["restarts"]) == (8192, 1)
        asked, cached = await asking.cached("Hi.", "Hello.", "How are you?", "Fine.", "Good.")
        assert cached > asked * 0.8, "saved before the climb"


async def test_an_engine_that_the_guard_stops_comes_back_lower(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    async with gateway(tiny, tmp_path, Floors(low=0, least=1 << 60)) as asking:
        # On a quick machine it has loaded before the guard has looked often enough.
        lowered = lambda found: "lowered" in found and found["state"] == "ready"  # noqa: E731
        found = await asking.until(lowered)
        assert found["lowered"]["rung"] == 1
        assert "must stay" in found["lowered"]["because"]
        assert (await asking.cached("Hi."))[0] > 100
        assert len(asking.engines) == 2


# --- the whole program, in a control group


def _own_group() -> Path | None:
    """Return the folder of this process's control group for memory (version 1)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text("ascii").splitlines():
            _, kinds, path = line.split(":", 2)
            if "memory" in kinds.split(","):
                inside = Path("/sys/fs/cgroup/memory") / path.strip("/")
                return inside if inside.is_dir() else Path("/sys/fs/cgroup/memory")
    return None


class Group:
    """A control group whose limit a test moves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def limit(self, mib: int) -> None:
        (self.folder / "memory.limit_in_bytes").write_text(str(mib * MIB), "ascii")


@pytest.fixture
def group() -> Iterator[Group]:
    top = _own_group()
    if top is None:
        pytest.skip("no control group of version 1")
    folder = top / f"steprun-test-{os.getpid()}"
    try:
        folder.mkdir()
        made = Group(folder)
        made.limit(9 * 1024)
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        yield made
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


class Program:
    """`steprun serve --demo pictures` in a control group."""

    def __init__(self, group: Group, home: Path) -> None:
        self.env = {**os.environ, **ONE_THREAD, "STEPRUN_HOME": str(home)}
        self.port = free_port("127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port}"
        words = ("serve", "--demo", "pictures", "--port", str(self.port))
        enter = f'echo $$ > {group.folder}/cgroup.procs && exec "$@"'
        self.process = subprocess.Popen(
            ["sh", "-c", enter, "sh", sys.executable, "-m", "runner", *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def status(self) -> dict[str, Any]:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{self.url}/steprun/status") as r,
        ):
            found: dict[str, Any] = json.loads(r.read())
            return found
        return {"state": "", "events": []}

    def until(self, what: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while not what(found := self.status()):
            assert time.monotonic() < deadline, found
            assert self.process.poll() is None
            time.sleep(0.1)
        return found

    def asked(self) -> int:
        """Ask; return the HTTP status."""
        body = {"messages": [{"role": "user", "content": "a red circle"}], "max_tokens": 4}
        head = {"Content-Type": "application/json"}
        url = f"{self.url}/v1/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), head)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return int(reply.status)

    def run(self, *words: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "runner", *words],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.stdout + ran.stderr

    def end(self) -> str:
        self.process.terminate()
        return self.process.communicate(timeout=30)[1]


def test_a_limit_that_falls_stops_the_engine_alone_and_it_comes_back_with_less(
    group: Group, tmp_path: Path
) -> None:
    """The plan's reserve is 2 GiB: below 1 GiB the engine is stopped; 1.5 above what it takes."""
    program = Program(group, tmp_path)
    try:
        program.until(lambda found: found["state"] == "ready")
        assert program.asked() == 200
        group.limit(1100)
        found = program.until(lambda found: found.get("waits_for"))
        assert "more of memory to come free" in found["waits_for"]
        assert "the engine waits for" in program.run("ps")
        assert "It waits for" in program.run("climb")
        group.limit(1950)
        found = program.until(lambda found: "lowered" in found and found["state"] == "ready")
        assert found["lowered"]["gave_up"] == ["pictures: the vision encoder is off"]
        assert program.asked() == 200
        assert "more of memory must be free" in program.run("climb")
        assert "pictures: the vision encoder is off" in program.run("ps")
        group.limit(9 * 1024)
        assert "started again with more" in program.run("climb")
        found = program.until(lambda found: "lowered" not in found and found["state"] == "ready")
        assert [each["event"] for each in found["events"]] == ["waiting", "lowered", "climbed"]
        assert program.asked() == 200
        assert "Given up: pictures" in program.run("logs")
    finally:
        text = program.end()
    assert "answers again" in text, text
