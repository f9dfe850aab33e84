"""What a gateway is doing at this moment: what `ps` shows, and how far a model is loaded."""

import asyncio
import re
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import psutil

from runner.engine.process.log import LogReader
from runner.gateway.activity import Activity, Entry
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.line import EngineLost
from runner.gateway.engine.lowering import Lowering
from runner.gateway.engine.relay import Relay
from runner.gateway.settings import Settings
from runner.gateway.watching.account import last_object
from runner.gateway.watching.events import EVENTS, MemoryEvent

FRESH_S: Final = 0.5  # an account of the slots is asked for again after so long
WAIT_S: Final = 0.5  # for the engine's answer: it comes between two batches
# A batch takes so long on a slow machine: until then one question is enough.
ASK_S: Final = 30.0
_TASKS: Final = 1000  # prompts whose length is remembered
# How long a prompt is: `/slots` does not say before it is read, the engine's log does (llama.cpp
# b11549, server-context.cpp, "new prompt"). Where an engine writes it otherwise, it is not known.
_NEW_PROMPT: Final = re.compile(r"\btask (\d+) \| new prompt, .*\btask\.n_tokens = (\d+)")


class NextToken(msgspec.Struct, frozen=True):
    """How far the answer of a slot is."""

    n_decoded: int = 0


class Slot(msgspec.Struct, frozen=True):
    """A slot as the engine's `/slots` has it; further fields are left out.

    `n_prompt_tokens`: all that it holds now, the answer included.
    """

    id: int = 0
    id_task: int = -1
    is_processing: bool = False
    n_prompt_tokens: int = 0
    n_prompt_tokens_processed: int = 0
    n_prompt_tokens_cache: int = 0
    next_token: tuple[NextToken, ...] = ()

    @property
    def written(self) -> int:
        """The tokens of its answer so far."""
        return self.next_token[0].n_decoded if self.next_token else 0


@dataclass(frozen=True, slots=True)
class SlotsSeen:
    """The busy slots of one moment, those that began first in front. `at`: of time.monotonic."""

    slots: tuple[Slot, ...] = ()
    at: float = 0.0


class Status:
    """Answers what is going on. `stopping` is set once no new request is taken.

    `lowering`: which rung of the ladder the engine is at, None where nobody lowers it. `events`:
    the last steps, climbs and waits.
    """

    def __init__(
        self, settings: Settings, keeper: Keeper, relay: Relay, activity: Activity
    ) -> None:
        self.settings = settings
        self._keeper = keeper
        self._relay = relay
        self._activity = activity
        self._began = time.monotonic()
        self.stopping = False
        self._seen = SlotsSeen()
        self._asking: asyncio.Task[None] | None = None
        self._first: dict[int, tuple[float, int]] = {}  # when a task was first seen, and how far
        self._measured = (0.0, 0)
        self._log: LogReader | None = None
        self._totals: dict[int, int] = {}  # of the prompt of each task
        self.lowering: Lowering | None = None
        self.events: deque[MemoryEvent] = deque(maxlen=EVENTS)

    @property
    def uptime_s(self) -> float:
        """For how long it has been there."""
        return time.monotonic() - self._began

    def state(self) -> str:
        """Return the state, as `ps` names it."""
        if self.stopping:
            return "stopping"
        if self._keeper.state == "ready":
            return "busy" if self._served_now() or self.waiting() else "ready"
        return str(self._keeper.state)

    def waiting(self) -> int:
        """Return how many requests wait for their turn, or for the engine."""
        return sum(entry.stage == "waiting" for entry in self._activity.running.values())

    def running(self) -> int:
        """Return how many requests the engine works on."""
        return len(self._served_now())

    @property
    def ready(self) -> bool:
        """Whether a request that comes now is answered: at once, after others, or by waking it."""
        return self._keeper.state in {"ready", "asleep"} and not self.stopping

    def health(self) -> dict[str, Any]:
        """Return the body of `/health`."""
        state = self._keeper.state
        document: dict[str, Any] = {
            "status": "ok" if self.ready else self.state(),
            "state": self.state(),
            "model": self.settings.model,
        }
        if state in {"loading", "restarting"}:
            document["loading_s"] = round(self._keeper.waited_s, 1)
            if (percent := self.loaded_percent()) is not None:
                document["loaded_percent"] = percent
        return document | self._memory_fields()

    def _memory_fields(self, *, names: bool = False) -> dict[str, Any]:
        """Return what want of memory does to the engine. `names`: also of other programs."""
        if self.lowering is None:
            return {}
        engine = self._keeper.engine
        left = engine.memory_left if engine is not None else None
        short = {} if left is None else {"memory_left_bytes": left}
        return short | self.lowering.fields(names=names)

    def loaded_percent(self) -> int | None:
        """Return how much of the weights the engine has loaded; None where that is not known."""
        loaded = self._keeper.loaded
        return loaded.percent if loaded is not None else None

    @property
    def resident_bytes(self) -> int:
        """What the system counts for the engine's process; 0 where there is none."""
        return self._memory()

    async def document(self) -> dict[str, Any]:
        """Return the server as `ps` shows it."""
        settings, served = self.settings, self.settings.served
        await self._look()
        entries = self._served_now()
        pairs = matched(entries, self._seen.slots)
        slots = [
            _with_reading(self._slot(entry, pairs.get(entry.number)), entry) for entry in entries
        ]
        idle = max(0, settings.parallel - len(slots)) if self._keeper.state == "ready" else 0
        return {
            "model": settings.model,
            "title": settings.title,
            "quant": settings.quant,
            "engine": served.engine,
            **self._state_fields(),
            "context": settings.context,
            "sees": settings.sees,
            "slots": [*slots, *[_slot_row("", "idle")] * idle],
            "waiting": self.waiting(),
            "memory_bytes": served.total_bytes,
            "limit_bytes": served.limit_bytes,
            "resident_bytes": self.resident_bytes,
            "restarts": self._keeper.restarts,
            "uptime_s": round(self.uptime_s, 1),
            "events": list(self.events),
        }

    def _state_fields(self) -> dict[str, Any]:
        health = self.health()
        del health["status"], health["model"]
        return health | self._memory_fields(names=True)

    def _served_now(self) -> list[Entry]:
        entries = [
            entry
            for entry in self._activity.running.values()
            if entry.generates and entry.stage in {"reading", "writing"}
        ]
        return sorted(entries, key=lambda entry: entry.began)

    def _slot(self, entry: Entry, slot: Slot | None) -> dict[str, Any]:
        """Return one request as `ps` shows it; what is not known is None."""
        at = self._seen.at
        if slot is not None and slot.written:  # its tokens tell, where an answer comes in one piece
            first = self._first.get(slot.id_task, (at, slot.written))
            rate = _rate(slot.written - first[1], at - first[0])
            if entry.first_byte:
                rate = _rate(slot.written, at - entry.first_byte)
            prompt = slot.n_prompt_tokens_cache + slot.n_prompt_tokens_processed
            return _slot_row(
                entry.client,
                "writing",
                prompt_tokens=prompt,
                read_tokens=slot.n_prompt_tokens_processed,
                cached_tokens=slot.n_prompt_tokens_cache,
                written_tokens=slot.written,
                tokens_per_s=rate,
            )
        state = "writing" if entry.stage == "writing" else "reading"
        progress = last_object(bytes(entry.tail), b'"prompt_progress":')
        if type(progress.get("total")) is int:  # only where the client has asked for it
            cached = int(progress.get("cache", 0))
            read, seconds = int(progress.get("processed", 0)) - cached, progress.get("time_ms", 0)
            rate = _rate(read, seconds / 1000)
            total: int | None = progress["total"]
        elif slot is not None:
            read, cached = slot.n_prompt_tokens_processed, slot.n_prompt_tokens_cache
            rate = _rate(read, at - entry.began)
            total = self._totals.get(slot.id_task)
        else:
            return _slot_row(entry.client, state)
        return _slot_row(
            entry.client,
            state,
            prompt_tokens=total,
            read_tokens=read,
            cached_tokens=cached,
            written_tokens=0,
            tokens_per_s=rate,
        )

    async def _look(self) -> None:
        """Ask the engine for its slots, unless that was just done; wait a moment only.

        A busy engine answers between two batches, so that the answer may come after this returns.
        """
        if not self._served_now() or self._keeper.state != "ready":
            self._seen = SlotsSeen()
            self._first.clear()
            return
        if self._asking is None or self._asking.done():
            if time.monotonic() - self._seen.at < FRESH_S:
                return
            self._asking = asyncio.create_task(self._ask(), name="slots")
        await asyncio.wait((self._asking,), timeout=WAIT_S)

    async def _ask(self) -> None:
        engine = self._keeper.engine
        if engine is None:
            return
        try:
            reply = await self._relay.ask("/slots", engine.endpoint, ASK_S)
            slots = msgspec.json.decode(reply, type=tuple[Slot, ...])
            await asyncio.to_thread(self._read_log)
        except (EngineLost, TimeoutError, ValueError):
            return  # it hangs or restarts: what is known without it is shown
        busy = sorted((slot for slot in slots if slot.is_processing), key=lambda s: s.id_task)
        now = time.monotonic()
        self._seen = SlotsSeen(tuple(busy), now)
        self._first = {
            slot.id_task: self._first.get(slot.id_task, (now, slot.written))
            for slot in busy
            if slot.written
        }

    def _read_log(self) -> None:
        """Note how long the prompts are that the engine has begun since it was last asked."""
        engine = self._keeper.engine
        if engine is None:
            return
        if self._log is None or self._log.path != engine.log_path:  # it was started again
            self._log, self._totals = LogReader(engine.log_path), {}
        while lines := self._log.lines():
            for line in lines:
                if found := _NEW_PROMPT.search(line):
                    self._totals[int(found[1])] = int(found[2])
        for old in sorted(self._totals)[:-_TASKS]:
            del self._totals[old]

    async def close(self) -> None:
        """Give up a question that the engine has not answered."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _memory(self) -> int:
        now = time.monotonic()
        at, resident = self._measured
        if now - at > FRESH_S:
            engine = self._keeper.engine
            resident = _measure(engine.pid) if engine is not None and engine.pid else 0
            self._measured = (now, resident)
        return resident


def matched(entries: list[Entry], slots: tuple[Slot, ...]) -> dict[int, Slot]:
    """Return which slot works on which request, by its number. Pure.

    Both are in the order in which they began. The engine does not say whose request a slot has: a
    request that is new has no slot yet, and a slot more than requests is one that is just ending.
    """
    last = slots[max(0, len(slots) - len(entries)) :]
    return {entry.number: slot for entry, slot in zip(entries, last, strict=False)}


def _measure(pid: int) -> int:
    """Return what the system counts for a process; 0 where that is not known."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (OSError, psutil.Error):
        return 0


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 2) if count > 0 and seconds > 0 else None


def _slot_row(client: str, state: str, **known: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {"client": client, "state": state}
    row |= {"restored_tokens": None, "saved_s": None, "reread_because": None}
    names = ("prompt_tokens", "read_tokens", "cached_tokens", "written_tokens", "tokens_per_s")
    row.update({name: known.get(name) for name in names})
    return row


def _with_reading(row: dict[str, Any], entry: Entry) -> dict[str, Any]:
    """Add to a request's row what is known of the reading of its prompt."""
    cached = row["cached_tokens"]
    row["reread_because"] = entry.reread or None
    if cached is not None:
        row["restored_tokens"] = entry.restored
        if entry.read_tps:
            row["saved_s"] = round(cached / entry.read_tps, 3)
    return row
