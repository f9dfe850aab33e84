"""Watches a gateway's engine for trouble that it does not end of, and starts it again in order.

An engine that hangs as a whole is the keeper's to see (`engine.pulse`). This is what goes wrong
while it seems to work: an answer that has stopped, answers that repeat themselves one after
another, rates that have fallen. An answer that is being written is never interrupted for it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec

from runner.base.beside import beside
from runner.base.errors import SteprunError
from runner.gateway.activity import Activity, Entry
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.line import EngineLost
from runner.gateway.engine.relay import Relay
from runner.gateway.engine.shortage import Saves
from runner.gateway.engine.turns import Turns
from runner.gateway.refusal import Refusal
from runner.gateway.timing import Timing
from runner.gateway.trouble.notices import Notices
from runner.gateway.trouble.rates import Rates
from runner.gateway.trouble.slots import LOOKS, StoppedAnswers, is_silent
from runner.gateway.watching.account import Account
from runner.gateway.watching.status import ASK_S, Slot

# Two answers in a row that repeat themselves: one is chance, and may be the request's own doing.
LOOPS: Final = 2
# An engine that has not worked so long is not worn out (llama.cpp 24259: after 8 to 13 hours).
WORN_S: Final = 3600.0
SOUND_TOKENS: Final = 64  # an answer that long without a loop says that the engine is well
_log = logging.getLogger(__name__)
_STOPPED: Final = (
    "The engine stopped in the middle of this answer, though it answers others. It is started "
    "again. Send the request again."
)


class TroubleWatch:
    """Hears of each answer, and looks at the slots. `slowed`: says what slows the machine down.

    `on_gpu`: where the engine computes. A processor's rates fall with what else runs on it, which
    a restart does not change.
    """

    def __init__(
        self,
        keeper: Keeper,
        relay: Relay,
        *,
        turns: Turns,
        activity: Activity,
        notices: Notices,
        timing: Timing,
        slowed: Callable[[], list[str]] = list,
        on_gpu: bool = False,
        prompts: Saves | None = None,
    ) -> None:
        self._keeper = keeper
        self._relay = relay
        self._turns = turns
        self._activity = activity
        self._notices = notices
        self._timing = timing
        self._slowed = slowed
        self._on_gpu = on_gpu
        self._prompts = prompts
        self._rates = Rates()
        self._said = False  # that the rates have fallen
        self._tried = False  # a restart against it
        self._loops = 0
        self._stopped = StoppedAnswers()
        self._since = time.monotonic()  # the engine was started
        self._starts = 0  # of the engine that is followed
        self._asked = 0.0  # for the slots
        self._not_before = 0.0  # the next try to start it again
        self.why: SteprunError | None = None  # to start the engine again, when it can be

    def ended(self, entry: Entry, account: Account) -> None:
        """Take in an answer that is over."""
        if entry.trouble:
            self._loops += 1
        elif (account.tokens or 0) >= SOUND_TOKENS:
            self._loops = 0
        if entry.shared or not account.tokens or not account.tokens_per_s:
            return
        self._rates.note(
            context=(account.prompt_tokens or 0) + account.tokens,
            tokens=account.tokens,
            accepted=account.accepted or 0,
            tokens_per_s=account.tokens_per_s,
        )

    @property
    def share(self) -> float | None:
        """How fast the engine is, of what it was; None where it is as fast, or not known."""
        return self._rates.share if self._rates.fallen else None

    async def watch(self) -> None:
        """Look, again and again."""
        while True:
            await asyncio.sleep(self._timing.look_s)
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - a look that fails is not the last one
                _log.exception("A look for trouble has failed.")

    async def _look(self) -> None:
        if (starts := self._keeper.starts) != self._starts:
            if self._starts:
                self._begin_again()
            self._starts = starts
        await self._look_at_slots()
        if self._loops >= LOOPS and time.monotonic() - self._since >= WORN_S:
            self.why = SteprunError(
                "The engine writes answers that repeat themselves without end.",
                why=f"So did the last {self._loops}.",
            )
        await self._look_at_rates()
        if self.why is not None and time.monotonic() >= self._not_before:
            await self._renew(self.why)

    def _begin_again(self) -> None:
        self._since = time.monotonic()
        self._loops, self.why, self._said = 0, None, False
        self._stopped = StoppedAnswers()
        self._rates.begin_again()

    async def _look_at_slots(self) -> None:
        now, engine = time.monotonic(), self._keeper.engine
        at_work = [e for e in self._activity.running.values() if e.generates and e.began]
        entries = sorted(
            (e for e in at_work if e.stage in {"reading", "writing"}), key=lambda e: e.began
        )
        silent = self._timing.silent_s
        if engine is None or now - self._asked < silent / LOOKS:
            return
        if not any(is_silent(entry, now, silent) for entry in entries):
            return
        self._asked = now
        try:
            reply = await self._relay.ask("/slots", engine.endpoint, ASK_S)
            slots = msgspec.json.decode(reply, type=tuple[Slot, ...])
        except (EngineLost, TimeoutError, ValueError):
            return  # it hangs as a whole, or does not tell
        busy = tuple(sorted((s for s in slots if s.is_processing), key=lambda s: s.id_task))
        for entry in self._stopped.look(time.monotonic(), entries, busy, silent):
            entry.trouble = "The engine stopped in the middle of the answer"
            self._relay.end(entry, Refusal(502, _STOPPED, retry_after_s=1))
            self.why = SteprunError("The engine has stopped in the middle of an answer.")

    async def _look_at_rates(self) -> None:
        share = self.share
        if share is None:
            if self._said and self._rates.share is not None:
                self._said = False
                self._notices.add("rate well", "Decode is as fast again as it was.")
            return
        if not self._said:
            self._said = True
            causes = await asyncio.to_thread(self._slowed)
            self._notices.add("rate", self._in_words(share, causes))
            if self._on_gpu and not causes and not self._tried:
                self._tried = True
                self.why = SteprunError(
                    "The engine has become slow.",
                    why=f"Decode is at {share:.0%} of the rate that it had.",
                )

    def _in_words(self, share: float, causes: list[str]) -> str:
        what = f"Decode is at {share:.0%} of the rate that it had at such contexts."
        if causes:
            return f"{what} {' '.join(causes)}"
        if not self._on_gpu:
            return f"{what} Other programs may use the processor; see: top"
        if self._tried:
            return f"{what} A restart of the engine did not help; restart the computer."
        return f"{what} Nothing that is known slows the machine down: the engine is started again."

    async def _renew(self, why: SteprunError) -> None:
        """Start the engine again when nobody is being answered; new requests wait for that."""
        if self._keeper.engine is None:
            return
        self._turns.hold(held=True, by="trouble")
        try:
            deadline = time.monotonic() + self._timing.renew_s
            while self._activity.answering():
                if time.monotonic() > deadline:  # a long answer: others have their turn meanwhile
                    self._not_before = time.monotonic() + self._timing.renew_s
                    return
                await asyncio.sleep(self._timing.poll_s)
            if self._prompts is not None and self._keeper.engine is not None:
                await self._prompts.save_all(self._timing.save_end_s)
            await self._keeper.renew(why)
            self.why = None
        finally:
            self._turns.hold(held=False, by="trouble")


def watching(watch: TroubleWatch) -> AbstractAsyncContextManager[None]:
    """Watch within the block."""
    return beside(watch.watch(), "trouble")
