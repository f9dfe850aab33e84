"""Keeps prompts that were read: chooses each request's slot, saves and restores around it.

Nothing here fails a request. Where the engine does not do what it is asked for, the request goes to
it all the same, and the prompt is read again.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from runner.gateway.activity import Entry
from runner.gateway.calls import EngineCall, with_slot
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.relay import Relay
from runner.gateway.prompts.choose import (
    Placement,
    Wanted,
    answer_room,
    choose,
    continues,
    may_be_spared,
    restorable,
    worth_saving,
)
from runner.gateway.prompts.engine_slots import FAILS, EngineSlots, Moved
from runner.gateway.prompts.measure import Measured
from runner.gateway.prompts.slots import Slot, Slots, Taken, beginning
from runner.gateway.refusal import Refusal
from runner.gateway.timing import USUAL, Timing
from runner.gateway.watching.account import account_of
from runner.gateway.watching.read_rate import ReadRate
from runner.kv.kept import Kept
from runner.kv.prompt import Prompt
from runner.kv.saved import Match, Pending, Saved
from runner.kv.store import Store
from runner.net.endpoint import Endpoint

_HELD: Final = 0.5  # of a prompt's stored part; with less of it cached, a restore was in vain


class KeptPrompts:
    """The slots of the engine of this moment, and the store behind them. Close it at the end."""

    def __init__(
        self,
        kept: Kept,
        keeper: Keeper,
        relay: Relay,
        store: Store | None,
        timing: Timing = USUAL,
        *,
        batch: int = 512,
    ) -> None:
        self._kept = kept
        self._keeper = keeper
        self._relay = relay
        self._store = store
        self._timing = timing
        self.reading = ReadRate()  # whoever sees the requests notes how fast they are read
        self._measured = Measured(self.reading, batch, kept.token_bytes)
        # Choosing, saving and restoring are one step: nothing else changes the slots meanwhile.
        self._lock = asyncio.Lock()
        self._engine: object = None
        self._slots: Slots | None = None
        self._steers = True
        self._saves_from = 0.0
        self._seeing: set[asyncio.Task[None]] = set()  # the next request waits for it
        self._seen: set[asyncio.Task[None]] = set()  # no request does
        self._finishing: set[asyncio.Task[None]] = set()
        self._idle: asyncio.Task[None] | None = None
        self._asked = 0  # how many requests are here

    @asynccontextmanager
    async def placed(
        self, call: EngineCall, endpoint: Endpoint, entry: Entry
    ) -> AsyncIterator[EngineCall]:
        """Prepare a slot for a request and yield what goes to it; see then what the slot holds."""
        if not entry.generates:
            yield call
            return
        ask = EngineSlots(self._relay, endpoint)
        taken: Taken | None = None
        error: BaseException | None = None
        self._asked += 1
        try:
            taken = await self._take(call, ask, entry)
            if taken is not None:
                await self._read_ahead(taken, call, ask, entry)
                call = call.at_slot(taken.slot.number)
            yield call
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._asked -= 1
            if taken is not None:
                taken.slots.ended(taken.slot)
                sure = error is None and taken.answered(account_of(entry, time.time()), entry.chat)
                work = self._see(taken, ask, entry, error, sure=sure)
                self._run(self._seen if sure else self._seeing, work)

    async def save_all(self, seconds: float) -> None:
        """Save what is worth it, in that time at most: the engine is about to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await _ended(self._seeing | self._seen)
                await self._save_idle(at_once=True)
                await _ended(self._finishing)

    async def close(self) -> None:
        """End what is under way."""
        ending = [*self._seeing, *self._seen, *([self._idle] if self._idle else [])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await _ended(self._finishing)
        if self._store is not None:
            await asyncio.to_thread(self._store.close)

    # ------------------------------------------------------------------ before a request

    async def _take(self, call: EngineCall, ask: EngineSlots, entry: Entry) -> Taken | None:
        """Return the slot that a request gets; None where the engine is left to itself."""
        await _ended(self._seeing)
        async with self._lock:
            try:
                slots = await self._known(ask)
                if slots.due(exactly=not call.takes_slot):
                    slots.look(await ask.look())
                await ask.settle(slots, cancelled=True)
                return await self._place(slots, ask, call, entry)
            except FAILS:
                self._slots = None  # what the slots hold is not known any more
                return None

    async def _known(self, ask: EngineSlots) -> Slots:
        if self._slots is None or self._engine is not self._keeper.engine:
            self._engine = self._keeper.engine
            self._slots = Slots(await ask.look(), shared=self._kept.spare_slots > 0)
        return self._slots

    async def _place(
        self, slots: Slots, ask: EngineSlots, call: EngineCall, entry: Entry
    ) -> Taken | None:
        prompt = entry.prompt if call.reads_cache else None
        characters = prompt.characters if prompt is not None else sum(map(len, call.body))
        begins = call.ahead.prompt if call.ahead is not None and prompt is not None else None
        wanted = Wanted(prompt, characters, call.answer_tokens, call.answers, begins)
        matches: list[Match] = []
        if may_be_spared(slots.holdings(), wanted, self._measured.rates()):
            matches = await self._matches(slots, prompt)
        while True:
            rates = self._measured.rates(matches)
            holdings = slots.holdings()
            if not (call.takes_slot or self._steers):
                oldest = slots.oldest()
                holdings = [replace(at, busy=at.slot != oldest) for at in holdings]
            way = choose(holdings, wanted, matches, rates, cells=slots.cells, saves=self._saves())
            if way is None:
                return None
            match = await self._prepare(slots, ask, way, matches, wanted)
            if way.restore is None or match is not None:
                break
            matches = [each for each in matches if each.saved.id != way.restore.id]
        slot = slots.all[way.slot]
        own = call.takes_slot and call.answers == 1
        before = slot.holding(time.monotonic())
        taken = Taken(slots, slot, before, slot.task, own, wanted, way.read_s, match)
        slot.busy = True
        slot.tokens = int(characters * rates.character_tokens)
        slot.tokens += answer_room(call.answer_tokens, slots.cells)
        entry.slot, entry.restored = slot.number, taken.before.tokens if match else 0
        if not call.takes_slot:
            try:
                await self._steer(slots, ask, slot)
            except asyncio.CancelledError:
                slot.busy, slot.tokens = False, taken.before.tokens
                raise
        return taken

    def _saves(self) -> bool:
        return self._store is not None and time.monotonic() >= self._saves_from

    async def _matches(self, slots: Slots, prompt: Prompt | None) -> list[Match]:
        if self._store is None or prompt is None:
            return []
        if self._finishing and not any(continues(at, prompt) for at in slots.holdings()):
            await _ended(self._finishing)  # it may be what is asked for
        return list(await asyncio.to_thread(self._store.find, prompt))

    async def _prepare(
        self,
        slots: Slots,
        ask: EngineSlots,
        way: Placement,
        matches: list[Match],
        wanted: Wanted,
    ) -> Match | None:
        """Save, empty and restore; return what was restored."""
        for number in way.save:
            await self._save(slots.all[number], ask)
        for number in way.empty:
            slots.all[number].empty()  # first: who asks may hang up while the engine does it
            await ask.empty(number)
        match = next((each for each in matches if each.saved is way.restore), None)
        if match is None or wanted.prompt is None or self._store is None:
            return None
        name = await asyncio.to_thread(self._store.open, match.saved)
        if name is None:
            return None
        slot = slots.all[way.slot]
        slot.empty()
        try:
            moved = await ask.restore(slot.number, name)
        except FAILS:
            await asyncio.to_thread(self._store.used, match.saved, 0, 0.0)
            return None
        self._measured.moved(moved)
        whole = match.blocks >= match.saved.blocks
        slot.tokens = moved.tokens
        slot.put(beginning(wanted.prompt, match.blocks), whole=whole)
        slot.stored = slot.prompt if whole else None
        if wanted.ahead is not None and wanted.goes_back(match.blocks, (match.saved.ahead,)):
            slot.ahead = (wanted.ahead,)
        return match

    async def _steer(self, slots: Slots, ask: EngineSlots, slot: Slot) -> None:
        """Have the engine take a slot by itself: it takes the one that was idle for longest."""
        try:
            await ask.settle(slots)
            for other in slots.newer(slot):
                await ask.touch(other.number)
                slots.touch(other)
        except FAILS:
            self._steers = False
        slots.unseen = slot

    async def _read_ahead(
        self, taken: Taken, call: EngineCall, ask: EngineSlots, entry: Entry
    ) -> None:
        """Have what is before a question read first, so that the engine can go back there."""
        ahead, slot, rates = call.ahead, taken.slot, self._measured.rates()
        entry.ahead, entry.ahead_s = 0, 0.0
        if ahead is None or taken.wanted.ahead is None:
            return
        # Where it can go back there, the engine does so by itself, and only once: what it goes back
        # to is a bare window, which is too short by one token for the next time.
        if ahead.prompt in slot.ahead:
            return
        if ahead.is_worth(ahead.prompt.characters * rates.character_tokens, taken.read_s):
            entry.begin()
            # What it refuses here, such as a prompt that is too long, it refuses again in a moment.
            with contextlib.suppress(ValueError):
                body = with_slot(ahead.write(), slot.number)
                entry.ahead, entry.ahead_s = await ask.read(call.path, body)
                taken.ahead = ahead.prompt

    # ------------------------------------------------------------------ after a request

    async def _see(
        self,
        taken: Taken,
        ask: EngineSlots,
        entry: Entry,
        error: BaseException | None,
        *,
        sure: bool,
    ) -> None:
        """See what a slot holds after a request; `error` is how it ended, None if in order.

        `sure`: the account of the answer says it, so that the engine need not be asked.
        """
        if not sure and not await self._look_after(taken, ask, entry, error):
            return
        if error is None:
            await self._count(taken, entry)
        self._start_idle()

    async def _look_after(
        self, taken: Taken, ask: EngineSlots, entry: Entry, error: BaseException | None
    ) -> bool:
        """Ask the engine what a slot holds after a request; return whether it says so."""
        slots, refused = taken.slots, isinstance(error, Refusal)
        async with self._lock:
            # By the account of an answer: its last token may not be in the cache.
            held = range(taken.slot.least or taken.before.tokens, taken.before.tokens + 1)
            if refused:
                taken.refused()
            else:
                begun = error is None or entry.first_byte > 0
                taken.ended(entry.chat, whole=begun, adrift=error is not None)
            try:
                slots.look(await ask.look())
            except FAILS:
                if self._slots is slots:
                    self._slots = None
                return False
            if refused and taken.slot.tokens not in held:
                taken.slot.forget()  # it had begun
            if error is None and taken.slot.task == taken.task:
                slots.forget()  # it was answered in another slot
        return True

    async def _count(self, taken: Taken, entry: Entry) -> None:
        account = account_of(entry, time.time())
        self._measured.answered(account, taken.wanted.prompt)
        if taken.match is None or self._store is None or account.prompt_tokens is None:
            return
        rates, match = self._measured.rates(), taken.match
        cached = account.cached_tokens or 0
        expected = _HELD * restorable(taken.wanted, match, rates)
        spared = rates.read_s(cached) - rates.move_s(match.saved.bytes)
        held = cached if cached >= expected else 0
        await asyncio.to_thread(self._store.used, match.saved, held, max(0.0, spared))

    # ------------------------------------------------------------------ saving

    async def _save(self, slot: Slot, ask: EngineSlots) -> None:
        """Save a slot, where the store takes it. The file is finished beside what comes next."""
        prompt, rates = slot.prompt, self._measured.rates()
        if self._store is None or prompt is None or not self._may_be_saved(prompt):
            return
        size = int(slot.tokens * rates.token_bytes) + 1
        pending = await asyncio.to_thread(
            self._store.begin,
            prompt,
            size,
            slot.chat,
            max((0, *(p.characters for p in slot.ahead))),
        )
        if isinstance(pending, str):
            return
        try:
            moved = await ask.save(slot.number, pending.name)
        except FAILS:
            self._saves_from = time.monotonic() + self._timing.save_again_s
            await asyncio.to_thread(self._store.abandon, pending)
            return
        except asyncio.CancelledError:
            self._run(self._finishing, asyncio.to_thread(self._store.abandon, pending))
            raise
        self._measured.moved(moved)
        slot.stored = prompt
        finish = self._finish(self._store, slot, prompt, pending, moved)
        self._run(self._finishing, finish)

    async def _finish(
        self, store: Store, slot: Slot, prompt: Prompt, pending: Pending, moved: Moved
    ) -> None:
        read_s = self._measured.rates().read_s(moved.tokens)
        saved = await asyncio.to_thread(store.finish, pending, moved.tokens, read_s, moved.bytes)
        if not isinstance(saved, Saved) and slot.stored is prompt:
            slot.stored = None

    def _may_be_saved(self, prompt: Prompt) -> bool:
        return self._kept.picture or not any(part.kind == "picture" for part in prompt.parts)

    async def _save_idle(self, *, at_once: bool = False) -> None:
        """Save what is worth it, one after the other, as long as nobody asks for anything."""
        if not at_once:
            await asyncio.sleep(self._timing.save_idle_s)
        slots, engine = self._slots, self._keeper.engine
        if slots is None or engine is None or engine is not self._engine:
            return
        ask = EngineSlots(self._relay, engine.endpoint)
        with contextlib.suppress(*FAILS):
            async with self._lock:
                if slots.due(exactly=True):
                    slots.look(await ask.look())
            for slot in slots.all:
                async with self._lock:
                    if (self._asked and not at_once) or not self._saves():
                        return
                    await ask.settle(slots, cancelled=True)
                    worth = worth_saving(slot.holding(time.monotonic()), self._measured.rates())
                    if worth and not slot.busy:
                        await self._save(slot, ask)

    def _start_idle(self) -> None:
        """Begin to wait, anew; a save that is under way goes on, the engine does it already."""
        if self._store is None or self._lock.locked() or self._asked:
            return
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.create_task(self._save_idle(), name="save idle slots")

    def _run(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _ended(tasks: set[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(set(tasks))
