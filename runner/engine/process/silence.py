"""Notices where a guard no longer watches: stopped by a signal, frozen, or starved. Pure."""

from typing import Final, Literal

from runner.base.errors import Exit, SteprunError

# A guard says something once a second (`guard.BEAT_S`). The looks are counted, not timed: a machine
# that was asleep, or an owner that was stopped itself, has missed nothing in between.
LOOK_S: Final = 0.5
# Asked to go on after 5 s, which harms nobody. Among eight programs that used up two cores a guard
# was 0.07 s late at worst (`scripts/measure_watch --busy 8`).
WAKE_LOOKS: Final = 10
# After 20 s it is ended, and its engine with it: what nobody watches may freeze a machine.
END_LOOKS: Final = 40

Remedy = Literal["", "wake", "end"]


class Silence:
    """Counts the looks at which nothing new was heard."""

    def __init__(self) -> None:
        self._heard, self._looks = -1, 0

    def look(self, heard: int) -> Remedy:
        """Return what to do about a guard; `heard`: how many lines it has written so far."""
        self._looks = self._looks + 1 if heard == self._heard else 0
        self._heard = heard
        if self._looks >= END_LOOKS:
            return "end"
        return "wake" if self._looks and self._looks % WAKE_LOOKS == 0 else ""


def unwatched(log_path: str) -> SteprunError:
    """Return the error that says why an engine was ended whose guard had stopped watching."""
    error = SteprunError(
        "The engine was ended, as nothing watched this machine's memory any longer.",
        why=f"The process that watches it beside the engine did not respond for "
        f"{END_LOOKS * LOOK_S:.0f} s: something has stopped it, or kept it from running.",
        next=f"Start it again (log: {log_path})",
    )
    error.exit_code = Exit.FAILED
    return error
