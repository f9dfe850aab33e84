"""Which answers have stopped in the middle, by the engine's own account of its slots. Pure.

The engine tells of its slots between two batches, and with each batch every slot that writes gets
a token: so one that has not, over several accounts and a minute, gets none any more, however slow
the machine is.
"""

from dataclasses import dataclass, field
from typing import Final

from runner.gateway.activity import Entry
from runner.gateway.watching.status import Slot, matched

LOOKS: Final = 3  # accounts in which nothing was written


@dataclass(frozen=True, slots=True)
class _Stand:
    """Where an answer stands: how far its slot was when, and in how many accounts since."""

    task: int
    written: int
    at: float
    looks: int = 1


def is_silent(entry: Entry, now: float, silent_s: float) -> bool:
    """Whether nothing has been heard of an answer for so long; nothing is of one sent whole."""
    return now - (entry.heard or entry.began) >= silent_s


@dataclass(slots=True)
class StoppedAnswers:
    """Follows the answers of one engine. Show it each account of the slots in order."""

    _stands: dict[int, _Stand] = field(default_factory=dict)

    def look(
        self, now: float, entries: list[Entry], busy: tuple[Slot, ...], silent_s: float
    ) -> list[Entry]:
        """Return the answers that have stopped.

        `entries`: those at the engine, `busy`: its slots, both in the order in which they began.
        """
        if len(entries) != len(busy):  # one is just beginning or ending: not to be told apart
            self._stands.clear()
            return []
        stands, stopped = {}, []
        for entry in entries:
            slot = matched(entries, busy)[entry.number]
            if not (slot.written and is_silent(entry, now, silent_s)):
                continue
            before = self._stands.get(entry.number)
            if before and (before.task, before.written) == (slot.id_task, slot.written):
                stand = _Stand(before.task, before.written, before.at, before.looks + 1)
            else:
                stand = _Stand(slot.id_task, slot.written, now)
            stands[entry.number] = stand
            if stand.looks >= LOOKS and now - stand.at >= silent_s:
                stopped.append(entry)
        self._stands = stands
        return stopped
