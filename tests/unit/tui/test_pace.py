"""How often an answer is drawn, by what drawing costs."""

import asyncio
import time

import pytest

from runner.chat.turn import Turn
from runner.tui.pace import LATEST_S, SHARE, TICK_S, DrawingPace
from runner.tui.transcript import Transcript
from tests.unit.tui.test_app import chat


def drawn(costs: float, between: float = 0.0, ticks: int = 600) -> tuple[int, float]:
    """Return how often it is drawn, and the share of a core that all of it takes.

    `costs`: processor seconds of a drawing; `between`: of what else happens from tick to tick.
    """
    pace, spent, count = DrawingPace(), 0.0, 0
    for tick in range(ticks):
        spent += between
        if pace.due(tick * TICK_S, spent):
            count += 1
            spent += costs
    return count, spent / (ticks * TICK_S)


def test_each_tick_is_drawn_where_drawing_is_cheap():
    assert drawn(0.004, 0.002)[0] == 600


@pytest.mark.parametrize("costs", [0.015, 0.02, 0.03, 0.045])
def test_dear_drawings_are_fewer_and_take_no_more_than_their_share(costs):
    count, share = drawn(costs)
    assert count < 400
    assert share <= SHARE * 1.05
    assert share >= SHARE * 0.6  # and no fewer than need be


def test_keys_come_before_drawings():
    assert drawn(0.004, 0.008)[0] < drawn(0.004, 0.002)[0]


def test_an_answer_never_stands_still_for_long():
    count, _ = drawn(2.0, 0.09)
    assert count >= 600 * TICK_S / LATEST_S


async def test_the_chat_draws_less_often_where_each_drawing_is_dear(monkeypatch):
    clock = {"now": 100.0, "spent": 0.0}
    drawings: list[float] = []

    def sync(_: Transcript, turn: Turn, **__: bool) -> None:
        del turn
        drawings.append(clock["now"])
        clock["spent"] += 0.035

    async with chat() as c:
        monkeypatch.setattr(Transcript, "sync", sync)
        monkeypatch.setattr(time, "monotonic", lambda: clock["now"])
        monkeypatch.setattr(time, "thread_time", lambda: clock["spent"])
        monkeypatch.setattr(c.app, "_live", c.app.conversation.append("question", ()))
        for _ in range(30):
            clock["now"] += TICK_S
            await c.app._ticked()
        monkeypatch.undo()
        await asyncio.sleep(0)
    assert len(drawings) == 10  # 35 ms each: 0.12 of 0.3 s
