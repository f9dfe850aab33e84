"""What each slot of one engine holds, as far as the gateway knows: it sends all requests."""

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from runner.gateway.prompts.ahead import reaches
from runner.gateway.prompts.choose import Holding, Wanted
from runner.gateway.watching.account import Account
from runner.kv.prompt import Part, Prompt, common
from runner.kv.saved import Match

AHEAD: Final = 8  # beginnings that are known of a slot: there are about as many checkpoints
_COUNT: Final = 1 << 40  # no engine has so many tokens
# What the engine drops by itself, where its context is full, is seen so late at most.
LOOK_S: Final = 10.0


@dataclass(slots=True)
class Slot:
    """One slot.

    `tokens`: by the engine's account. `least`: of these, as many as its prompt has, 0 where that is
    not known. `task`: the engine's number of its last one. `touched`: when it was used last, as a
    number that grows; 0 before. `adrift`: it is busy with what nobody waits for any more. `stored`:
    what a file has of its prompt. `chat`: the ID of the chat that it is of. `ahead`:
    beginnings of its prompt that were read ahead of the rest, so that the engine can go back there.
    """

    number: int
    tokens: int = 0
    least: int = 0
    prompt: Prompt | None = None
    whole: bool = True
    busy: bool = False
    adrift: bool = False
    stored: Prompt | None = None
    chat: str = ""
    ahead: tuple[Prompt, ...] = ()
    used: float = 0.0
    touched: int = 0
    task: int = -1

    def forget(self) -> None:
        """Believe nothing of what it holds."""
        self.prompt, self.stored, self.ahead, self.whole = None, None, (), True

    def empty(self) -> None:
        """Believe that it holds nothing."""
        self.forget()
        self.tokens = 0

    def put(self, prompt: Prompt | None, *, whole: bool = True) -> None:
        """Believe that it holds a prompt, and what was written after it."""
        if self.stored is not None and (prompt is None or not _begins(self.stored, prompt)):
            self.stored = None
        self.ahead = tuple(
            each for each in self.ahead if prompt and reaches(each, common(each, prompt))
        )
        self.prompt, self.whole, self.least = prompt, whole, 0

    def holding(self, now: float) -> Holding:
        """Return what is known of it."""
        stored = 0.0
        if self.stored is not None and self.prompt is not None:
            stored = self.stored.characters / max(1, self.prompt.characters)
        return Holding(
            self.number,
            self.tokens,
            self.prompt,
            self.whole,
            self.busy,
            min(1.0, stored),
            max(0.0, now - self.used),
            tuple(each.characters for each in self.ahead),
        )


class Slots:
    """The slots of one engine, from its start to its end. `cells`: tokens of all together."""

    def __init__(self, seen: Any, *, shared: bool) -> None:
        """Take what the engine says of them (`/slots`). Raises ValueError where it is no list."""
        rows = list(_rows(seen))
        self.all = [Slot(number, busy=True, adrift=True) for number, _ in rows]
        self.cells = _number(rows[0][1], "n_ctx", 0) if shared else 0
        self._clock = itertools.count(1)
        self.unseen: Slot | None = None  # meant for a request that the engine may not have begun
        self.told = False  # of the last answers only their accounts are known
        self._looked = 0.0
        self.look(seen)

    def holdings(self) -> list[Holding]:
        """Return what each holds."""
        now = time.monotonic()
        return [slot.holding(now) for slot in self.all]

    def touch(self, slot: Slot) -> None:
        """Note that the engine used a slot just now."""
        slot.touched = next(self._clock)
        slot.used = time.monotonic()

    def newer(self, slot: Slot) -> list[Slot]:
        """Return the idle slots that the engine has to use once, so that `slot` is its oldest."""
        idle = [each for each in self.all if not each.busy and each is not slot]
        return [each for each in idle if each.touched <= slot.touched or not each.touched]

    def ended(self, slot: Slot) -> None:
        """Note that the engine is done with a request, whichever slot it took."""
        if self.unseen is slot:
            self.unseen = None

    def due(self, *, exactly: bool) -> bool:
        """Return whether the engine has to be asked what its slots hold.

        `exactly`: the numbers of their tasks are needed, too.
        """
        return self.told and (exactly or time.monotonic() - self._looked > LOOK_S)

    def oldest(self) -> int:
        """Return the idle slot that the engine takes by itself: of equal ones, the last."""
        idle = [each for each in self.all if not each.busy]
        return min(idle, key=lambda each: (each.touched, -each.number), default=Slot(-1)).number

    def cancelled(self) -> bool:
        """Return whether a slot whose prompt is known will be idle in a moment."""
        return any(each.adrift and each.prompt is not None for each in self.all)

    def forget(self) -> None:
        """Believe nothing of what the idle ones hold."""
        for each in self.all:
            if not each.busy:
                each.forget()

    def look(self, seen: Any) -> None:
        """Compare with what the engine says. Raises ValueError where it is no list."""
        self.told, self._looked = False, time.monotonic()
        for number, row in _rows(seen):
            slot = self.all[number]
            working = row.get("is_processing") is True
            slot.task, before = _number(row, "id_task", -1), slot.task
            if slot is self.unseen and (working or slot.task != before):
                self.unseen = None
            if slot.adrift and not working:
                slot.adrift = slot.busy = False
            # One that has never answered does not say what was restored into it.
            if not (slot.busy or working) and "n_prompt_tokens" in row:
                tokens = _number(row, "n_prompt_tokens", 0)
                slot.whole = slot.whole and tokens >= (slot.least or slot.tokens)
                slot.tokens, slot.least = tokens, 0
                if not tokens:  # the engine itself made room
                    slot.forget()


@dataclass(slots=True)
class Taken:
    """A slot that a request has got, and what it held before.

    `task`: the engine's number of the slot's last one then. `own`: the engine answers in that slot,
    and in no other one. `read_s`: what reading the rest of the prompt takes. `match`: what was
    restored into it. `ahead`: what was read before the rest.
    """

    slots: Slots
    slot: Slot
    before: Holding
    task: int
    own: bool
    wanted: Wanted
    read_s: float
    match: Match | None = None
    ahead: Prompt | None = None

    def answered(self, account: Account, chat: str) -> bool:
        """Note what the slot holds by the account of an answer; return whether that says it."""
        if not self.own or account.prompt_tokens is None:
            return False
        self.ended(chat)
        self.slot.least = account.prompt_tokens
        self.slot.tokens = account.prompt_tokens + (account.tokens or 0)
        self.slots.told = True
        return True

    def ended(self, chat: str, *, whole: bool = True, adrift: bool = False) -> None:
        """Note that nobody waits for it any more. `adrift`: the engine may not know that yet."""
        self.slots.touch(self.slot)
        self.slot.busy = self.slot.adrift = adrift
        self.slot.tokens = 0
        self.slot.put(self.wanted.prompt, whole=whole)
        if self.ahead is not None:
            self.slot.ahead = (*self.slot.ahead, self.ahead)[-AHEAD:]
        self.slot.chat = chat

    def refused(self) -> None:
        """Note that the engine did not take it: the slot should hold what it held."""
        self.slots.touch(self.slot)
        self.slot.busy = self.slot.adrift = False
        self.slot.tokens = self.before.tokens


def beginning(prompt: Prompt, blocks: int) -> Prompt:
    """Return so many blocks at the beginning of a prompt."""
    parts: list[Part] = []
    for part in prompt.parts:
        if blocks <= 0:
            break
        parts.append(replace(part, blocks=part.blocks[:blocks]))
        blocks -= len(part.blocks)
    return Prompt(tuple(parts))


def _begins(first: Prompt, whole: Prompt) -> bool:
    return common(first, whole) == sum(len(part.blocks) for part in first.parts)


def _rows(seen: Any) -> Iterable[tuple[int, dict[str, Any]]]:
    if not isinstance(seen, list) or not all(isinstance(row, dict) for row in seen) or not seen:
        raise ValueError("the engine does not say what its slots are")
    return enumerate(seen)


def _number(row: dict[str, Any], name: str, other: int) -> int:
    value = row.get(name)
    return value if type(value) is int and -1 <= value < _COUNT else other
