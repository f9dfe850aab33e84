"""How often an answer is drawn: as often as the share of a core allows that drawing may cost. Pure.

Each token need not be drawn: the processor that draws is the one that the model computes on.
"""

from typing import Final

TICK_S: Final = 0.1  # between two drawings; what changes more often is not read
SHARE: Final = 0.12  # of a core, for all that the interface does; a judgement
LATEST_S: Final = 0.5  # however much it costs: an answer that stands still looks stalled


class DrawingPace:
    """Says at each tick whether it is time to draw: on a slow or busy machine not at every one."""

    def __init__(self) -> None:
        self._drawn = (float("-inf"), 0.0)

    def due(self, now: float, spent: float) -> bool:
        """Tell whether to draw; if so, it is taken to happen.

        `now`: seconds of a clock. `spent`: processor seconds of the interface so far, what drawing
        and keys cost since the last time included.
        """
        at, before = self._drawn
        lasted = now - at
        if lasted < LATEST_S and spent - before > SHARE * lasted:
            return False
        self._drawn = (now, spent)
        return True
