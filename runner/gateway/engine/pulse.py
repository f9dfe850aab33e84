"""Whether an engine hangs, from what can be seen of it from outside. Pure."""

from dataclasses import dataclass
from typing import Final

from runner.engine.process.supervisor import VitalSigns
from runner.gateway.timing import USUAL, Timing

# Of one core. What goes on anyhow is far below: an answer to `/health` takes 0.16 ms (mean of 500,
# embedded engine, x86-64), and a request's thread wakes once a second to look for its client.
IDLE_CORES: Final = 0.02
GAP_S: Final = 10.0  # between two looks; more is a machine that slept, which proves nothing


@dataclass(slots=True)
class Pulse:
    """Follows one engine. Show it each look in order; it says when to give the engine up.

    `on_gpu`: it computes on one, where each batch is short. The processor may then wait for it by
    spinning, which looks like work.
    """

    timing: Timing = USUAL
    on_gpu: bool = False
    _at: float = 0.0
    _signs: VitalSigns | None = None
    _heard: int = 0
    _cpu_s: float = 0.0
    _still: float = 0.0
    _idle: float = 0.0
    _mute: float = 0.0

    def look(self, now: float, signs: VitalSigns, *, waiting: int, heard: int) -> str:
        """Return why the engine hangs, empty where it does not, in a sentence.

        `now` in seconds of any clock. `waiting`: how many requests wait for its next byte: an
        engine that nobody asks may do nothing. `heard`: bytes of answers so far.
        """
        before, passed = self._signs, now - self._at
        moved = before is None or signs.log_bytes != before.log_bytes or heard != self._heard
        self._signs, self._at, self._heard = signs, now, heard
        if not waiting or before is None or passed > GAP_S:
            self._still = self._idle = self._mute = self._cpu_s = 0.0
            return ""
        dead = not signs.answers and signs.progress == before.progress and not moved
        self._still = self._still + passed if dead else 0.0
        self._mute = 0.0 if moved else self._mute + passed
        if moved:
            self._idle = self._cpu_s = 0.0
        else:
            self._idle += passed
            self._cpu_s += max(0.0, signs.cpu_s - before.cpu_s)
            if self._cpu_s > IDLE_CORES * self.timing.idle_s:
                self._idle = self._cpu_s = 0.0
        if self._still >= self.timing.still_s:
            return f"It has not answered, computed or printed anything for {self._still:.0f} s."
        if self._idle >= self.timing.idle_s:
            return f"It has computed and printed nothing for {self._idle:.0f} s."
        if self.on_gpu and self._mute >= self.timing.mute_s:
            return f"It waits for its GPU: for {self._mute:.0f} s it has written and read nothing."
        return ""
