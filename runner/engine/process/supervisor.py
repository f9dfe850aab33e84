"""Starts one engine, waits until it answers, watches it, and reliably stops it.

The engine runs under `guard.py`, which ends with this process and stops the engine. What is
started is recorded, so that a later steprun can end what a crash of both has left behind.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx2
import psutil
from filelock import FileLock, Timeout

from runner.base import paths
from runner.base.errors import Refused, SteprunError
from runner.base.files import make_private_dir, write_private
from runner.base.units import size
from runner.engine.process import lesson_book, records, servers, silence, stack
from runner.engine.process.diagnose import LAST_LINES, by_itself, diagnose, short_of_memory
from runner.engine.process.guarded import Guarded
from runner.engine.process.log import LogReader
from runner.engine.process.memory_watch import left_now
from runner.machine.probes.takers import in_words, takers
from runner.net.endpoint import Endpoint
from runner.plan.launch import LaunchSpec

POLL_S = 0.05
# No line of log, no processor time and no byte read for so long: the engine hangs. Loads of
# 105 GB through mmap take minutes, but never without reading.
STALL_S = 120.0
LOOK_S = 1.0  # between two looks for a sign of life: each costs processor time
START_S = 10.0  # starting a process takes milliseconds; somebody else's start may be ahead
LAST_WORDS_S = 2.0  # an engine that has crashed may still be written to its log
TAIL_BYTES = 16384
ANSWER_S = 5.0  # for `/health`, which llama-server answers in a thread of its own
FRESH_S = 5.0  # the end of an engine is seen within a second, on a busy machine within two or three


@dataclass(frozen=True, slots=True)
class Where:
    """Where an engine listens. `port` 0: a free one. No `key_file`: a random key is made."""

    host: str = "127.0.0.1"
    port: int = 0
    key_file: Path | None = None
    open_to_all: bool = False  # no key at all: the user's choice, on loopback only


@dataclass(frozen=True, slots=True)
class VitalSigns:
    """What one look at an engine shows.

    `answers`: `/health` was answered. `log_bytes`: the size of its log, `cpu_s`: the processor
    time it has used, both 0 where it has ended. `progress` changes while it does anything at all.
    """

    answers: bool
    log_bytes: int = 0
    cpu_s: float = 0.0
    progress: float = 0.0


def _client() -> httpx2.AsyncClient:
    """Return a client for the engine. There is no TLS; to read its certificates takes 70 ms."""
    return httpx2.AsyncClient(timeout=ANSWER_S, trust_env=False, verify=False)


def free_port(host: str) -> int:
    """Return a port that is free now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class EngineProcess:
    """A running engine. Use as an async context manager: leaving stops it."""

    def __init__(
        self, program: Sequence[str], spec: LaunchSpec, where: Where | None = None
    ) -> None:
        self._program = tuple(program)
        self._spec = spec
        self._where = where or Where()
        self._running: Guarded | None = None
        self._own_key: Path | None = None
        self._record: Path | None = None
        self._ready = False
        self._seen = (-1.0, 0.0)  # its last sign of life, and when it came
        self._looked = 0.0
        self.pid = 0
        self.gave_up = self.short_of_memory = False
        self._before: int | None = None  # what was left before it started
        self._took = 0
        self.log_path = Path()
        self.endpoint = Endpoint("")

    async def __aenter__(self) -> Self:
        """Start the process, unless it was started before; `wait_ready` waits for the model."""
        if self._running is not None:
            return self
        # In a thread: another start may be ahead, and a gateway answers `/health` meanwhile.
        start = asyncio.ensure_future(asyncio.to_thread(self._start))
        try:
            await asyncio.shield(start)
        except BaseException:
            await asyncio.wait([start])  # what it has started meanwhile must be stopped, too
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the engine."""
        await self.stop()

    def _start(self) -> None:
        folder = make_private_dir(paths.state_dir() / "engines")
        try:
            # Two starts at once must see each other's record.
            with FileLock(folder / "start.lock", timeout=START_S):
                self._check_room(records.sweep(folder))
                self._spawn(folder)
        except Timeout as error:
            raise Refused(
                "Another steprun is starting an engine and has stopped responding.",
                why=f"It has held {folder / 'start.lock'} for {START_S:.0f} s.",
                next="End that steprun, then try again.",
            ) from error

    def _check_room(self, others: list[records.Record]) -> None:
        """Refuse where this engine and those that run would overcommit the machine together."""
        held, own = sum(other.total_bytes for other in others), self._spec.total_bytes
        memory = psutil.virtual_memory().total
        if held and held + own > memory:
            owners = {other.owner for other in others}
            found = (each for each in servers.running() if each.command == "serve")
            server = next((each for each in found if each.pid in owners), None)
            raise Refused(
                f"Another steprun engine is already running and holds {size(held)}.",
                why=f"Together with this one ({size(own)}) it would need more than "
                f"the {size(memory)} of this machine.",
                next=f"Chat with that one: steprun chat --url {server.url} - or end it: "
                f"steprun stop {server.port}"
                if server
                else "Close that one, or wait until it has ended.",
            )

    def _spawn(self, folder: Path) -> None:
        name = f"{os.getpid()}-{secrets.token_hex(3)}"
        self.log_path = make_private_dir(paths.state_dir() / "logs") / f"engine-{name}.log"
        _trim_logs(self.log_path.parent)
        argv = [*self._spec.argv, *self._listen(folder / f"{name}.key")]
        self._before = left_now()
        self._running = Guarded(
            [*self._program, *argv],
            self.log_path,
            env=self._spec.env,
            stack=stack.for_engine(),
            floors=self._spec.floors,
        )
        self.pid = self._running.pid
        if self.pid:
            self._record = folder / f"{name}.json"
            records.write_record(self._record, self.pid, self._spec.total_bytes)

    def _listen(self, own_key: Path) -> list[str]:
        """Return the flags that say where to listen; `own_key`: the place for a key of ours."""
        where = self._where
        port = where.port or free_port(where.host)
        argv = ["--host", where.host, "--port", str(port)]
        key = ""
        if not where.open_to_all:
            key_file = where.key_file
            if key_file is None:
                key = secrets.token_urlsafe(24)
                key_file = self._own_key = own_key
                write_private(key_file, key + "\n")
            else:
                key = read_key(key_file)
            argv += ["--api-key-file", str(key_file)]
        # A wildcard address is one to listen on, not one to talk to.
        talk_to = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(where.host, where.host)  # noqa: S104
        talk_to = f"[{talk_to}]" if ":" in talk_to else talk_to
        self.endpoint = Endpoint(
            f"http://{talk_to}:{port}",
            api_key=key,
            owned=True,
            longest_word=stack.longest_word(passed=self._spec.long_words),
        )
        return argv

    async def wait_ready(self, on_wait: Callable[[float], None] = lambda _: None) -> None:
        """Return once the engine answers `/health` with 200.

        `on_wait` hears the seconds waited so far, several times a second.
        Raises the reason (`SteprunError`) where the engine ends or hangs instead.
        """
        began = time.monotonic()
        async with _client() as http:
            while True:
                if not self.alive():
                    raise await asyncio.to_thread(self.verdict)  # it waits, and looks at processes
                self.check_moves()
                if await self._healthy(http) and self.alive():
                    self._ready = True
                    self._note_memory()
                    return
                on_wait(time.monotonic() - began)
                await asyncio.sleep(POLL_S)

    def check(self) -> None:
        """Raise the reason where the engine has ended, or hangs; call it often while waiting."""
        if not self.alive():
            raise self.verdict()
        self.check_moves()

    def check_moves(self) -> None:
        """Raise `SteprunError` where the engine hangs."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        progress, moved = self._seen
        if (seen := self._progress()) != progress:
            self._seen = (seen, now)
        elif now - moved > STALL_S:
            raise SteprunError(
                f"The engine hangs{'' if self._ready else ' while loading'}.",
                why=f"It has read, computed and printed nothing for {STALL_S:.0f} s.",
                next=f"Read the log: {self.log_path}",
            )

    async def _healthy(self, http: httpx2.AsyncClient) -> bool:
        try:
            return (await http.get(f"{self.endpoint.base_url}/health")).status_code == 200
        except httpx2.TransportError:
            return False

    def _progress(self) -> float:
        """Return a figure that changes while the engine does anything at all."""
        total = 0.0
        try:
            total += self.log_path.stat().st_size
            engine = psutil.Process(self.pid)
            # A Windows environment's Python only starts the real one. To look for children is to
            # look at every process, which an engine would feel on a small machine.
            children = engine.children(recursive=True) if os.name == "nt" else ()
            for process in (engine, *children):
                cpu = process.cpu_times()
                total += cpu.user + cpu.system + process.memory_info().rss
                if hasattr(process, "io_counters"):
                    total += process.io_counters().read_bytes
        except (OSError, psutil.Error):
            pass
        return total

    @property
    def memory_left(self) -> int | None:
        """How many bytes were left when they fell below the first floor; None above it."""
        return self._running.memory_left if self._running is not None else None

    def _note_memory(self) -> None:
        """Note what it has taken, in the figure that the guard watches."""
        if (floors := self._spec.floors) is not None and self._before is not None:
            left = left_now(self.pid, floors.mapped)
            self._took = max(0, self._before - left) if left is not None else 0

    def lacks_memory(self) -> int:
        """Return how many bytes must come free before it can be started again as it was.

        0 where it did not end for want of memory, or where there is room again.
        """
        floors, left = self._spec.floors, left_now()
        if not self.short_of_memory or floors is None or left is None:
            return 0
        return max(0, self._took + floors.low - left)

    def alive(self) -> bool:
        """Whether the engine still runs."""
        return self._running is not None and self._running.status() is None

    async def vital_signs(self) -> VitalSigns:
        """Return what can be seen of the engine from outside; takes `ANSWER_S` at the most."""
        async with _client() as http:
            answers = await self._healthy(http)
        with suppress(OSError, psutil.Error):
            cpu = psutil.Process(self.pid).cpu_times()
            return VitalSigns(
                answers, self.log_path.stat().st_size, cpu.user + cpu.system, self._progress()
            )
        return VitalSigns(answers)

    def verdict(self) -> SteprunError:
        """Return why the engine ended. Waits a moment for its last lines.

        Sets `gave_up`: it ended by its own decision, not by a crash or a signal; and
        `short_of_memory`: the guard has ended it before the machine ran out of memory.
        """
        status = self._running.status(LAST_WORDS_S) if self._running is not None else None
        self.gave_up = by_itself(status)
        fresh = False
        with suppress(OSError):
            fresh = time.time() - self.log_path.stat().st_mtime < FRESH_S
        tail = self.log_tail()
        self.short_of_memory = bool(short_of_memory(status, tail))
        if self.short_of_memory and not self._ready and self._before is not None:
            # Nobody knows how much it was going to take: what was planned, above the first floor.
            # What was free before is enough to try again: to wait for more may have no end.
            low = self._spec.floors.low if self._spec.floors else 0
            planned = self._spec.total_bytes + low if self._spec.total_bytes else self._before
            self._took = max(0, min(self._before, planned) - low)
        if self._running is not None and self._running.unwatched:
            return silence.unwatched(str(self.log_path))
        error = diagnose(status, tail, str(self.log_path), ready=self._ready, fresh=fresh)
        if self.short_of_memory:
            error.why = f"{error.why} {in_words(takers(without=(os.getpid(),)))}".rstrip()
        return error

    def log_tail(self) -> str:
        """Return the last lines of the engine's log."""
        return "\n".join(LogReader(self.log_path).tail(TAIL_BYTES).splitlines()[-LAST_LINES:])

    async def stop(self, *, politely: bool = True) -> None:
        """Stop the engine and remove its traces; safe to call twice. The log stays."""
        running, self._running = self._running, None
        if running is not None:
            running.taken.look(self.pid)  # it may have run for less than a second
            running.ask_to_stop(politely=politely)
            deadline = time.monotonic() + running.stop_s
            while running.status() is None and time.monotonic() < deadline:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.02)
            running.kill()
        # Where the guard died first, nobody has stopped the engine.
        if self._record is not None:
            records.end(self._record)
        if self._own_key is not None:
            self._own_key.unlink(missing_ok=True)
        if running is not None and self._ready:
            await asyncio.to_thread(lesson_book.note_run, self._spec.expected, running.taken)


def read_key(path: Path) -> str:
    """Return the first key of an API key file; a line may name its owner before it."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(
            f"The key file {path} cannot be read.",
            why=str(error),
            next="Leave --api-key-file out: steprun serve then creates a key of its own.",
        ) from error
    for line in lines:
        if line.strip() and not line.startswith("#"):
            return line.split()[-1]
    raise Refused(
        f"The key file {path} holds no key.",
        why="It is empty, or all its lines are comments.",
        next="Write one key on a line of its own.",
    )


def _trim_logs(folder: Path, keep: int = 20) -> None:
    """Keep the newest logs only."""
    logs = sorted(folder.glob("engine-*.log*"), key=lambda path: path.stat().st_mtime)
    for old in logs[:-keep]:
        old.unlink(missing_ok=True)
