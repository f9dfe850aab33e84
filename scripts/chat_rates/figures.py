"""The measurements: each drives the chat in a terminal and returns its figures, in ms."""

import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from chat_rates.programs import Program
from chat_rates.terminal import Terminal

# In no answer, so that a letter on the screen is the key that was pressed.
LETTERS = "αβγδεζηθικλμνξοπρστυφχψωабвгдежзийклмнпрстуфхцчшщыэюя"
Figures = dict[str, Any]


def first_paints(programs: Sequence[Program], times: int) -> dict[str, Figures]:
    """Return the wall and processor time until each window is on the screen, after a warm-up.

    The programs take turns, so that what else the machine does is the same for all.
    """
    walls: dict[str, list[float]] = {program.name: [] for program in programs}
    works: dict[str, list[float]] = {program.name: [] for program in programs}
    for number in range(times + 1):
        for program in programs:
            terminal = program.start()
            when = terminal.seen(program.painted, timeout=90)
            if number and when is not None:
                walls[program.name].append(when - terminal.began)
                works[program.name].append(terminal.cpu())
            terminal.close()
    return {
        name: {"first_paint_ms": _median(found), "first_paint_cpu_ms": _median(works[name])}
        for name, found in walls.items()
    }


class Keys:
    """Presses letters, each with its time and its work until it is on the screen."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.walls: list[float] = []
        self.works: list[float] = []
        self.lost = 0
        self._pressed = 0

    def press(self, before: str = "", timeout: float = 30.0) -> None:
        """Press one; `before`: what the terminal reports right before it."""
        letter = LETTERS[self._pressed % len(LETTERS)]
        self._pressed += 1
        since, work, began = len(self._terminal.pieces), self._terminal.cpu(), time.monotonic()
        self._terminal.send(before + letter)
        when = self._terminal.seen(letter, since, timeout)
        if when is None:
            self.lost += 1
            return
        self.walls.append(when - began)
        self.works.append(self._terminal.cpu() - work)

    def clear(self) -> None:
        """Take back what was typed."""
        self._terminal.send("\x7f" * self._pressed)
        time.sleep(0.5)

    def figures(self, name: str) -> Figures:
        """Return the median and the largest: on the clock, and in processor time."""
        return {
            f"{name}_ms": [_median(self.walls), _ms(max(self.walls, default=0))],
            f"{name}_cpu_ms": [_median(self.works), _ms(max(self.works, default=0))],
            **({f"{name}_lost": self.lost} if self.lost else {}),
        }


def at_rest(terminal: Terminal, times: int = 8) -> Figures:
    """Return what a key costs while nothing streams, alone and with a change of focus."""
    plain, away, back = Keys(terminal), Keys(terminal), Keys(terminal)
    for number in range(times):
        for keys, before in ((plain, ""), (away, "\x1b[O"), (back, "\x1b[I")):
            keys._pressed = 3 * number + (plain, away, back).index(keys)  # noqa: SLF001
            keys.press(before)
            time.sleep(0.1)
    terminal.send("\x7f" * (3 * times))
    time.sleep(0.5)
    return plain.figures("key") | away.figures("focus_out") | back.figures("focus_in")


def ask(terminal: Terminal, numbers: range, said: Callable[[], str]) -> None:
    """Ask short questions and wait for their answers; `said`: what the engine says it sent.

    Not for their end on the screen: a program need not show it.
    """
    for number in numbers:
        terminal.send(f"ask {number}\r")
        while not said().endswith(f" ask {number}\n"):
            pass
        terminal.quiet(timeout=2.0)  # some never are


def stream(terminal: Terminal, kind: str, count: int, rate: int, mark: str) -> Figures:
    """Return how much of a stream is drawn, what it costs, and what keys cost meanwhile."""
    since = _play(terminal, kind, count, rate, mark)
    begin = time.monotonic()
    time.sleep(min(1.0, count / rate / 4))
    began, work, written = time.monotonic(), terminal.cpu(), terminal.written()
    time.sleep(max(0.1, begin + count / rate / 2 - began))
    lasted = time.monotonic() - began
    a_second, written = (terminal.cpu() - work) / lasted, terminal.written() - written
    keys = Keys(terminal)
    while time.monotonic() < begin + count / rate - 0.5 and len(keys.walls) < len(LETTERS):
        keys.press()
        time.sleep(0.1)
    terminal.seen(f"{mark} has ended", since)
    terminal.quiet()
    keys.clear()
    return {
        "shown_per_s": _drawn(terminal, since, mark),
        "ui_cpu_ms_per_s": _ms(a_second),
        "written_kb_per_s": round(written / lasted / 1000),
        "memory_mib": round(terminal.memory() / 2**20),
        **keys.figures("key_streaming"),
    }


def burst(terminal: Terminal, kind: str, count: int, mark: str, said: Callable[[], str]) -> Figures:
    """Return what a key costs right after very much came at once, and until all is shown."""
    work = terminal.cpu()
    since = _play(terminal, kind, count, 0, mark)
    while not said().endswith(f" {mark}\n"):  # what the engine says it sent
        pass
    keys = Keys(terminal)
    for _ in range(12):
        keys.press()
        time.sleep(0.05)
    whole = terminal.seen(f"{mark} has ended", since, 120) is not None
    work = terminal.cpu() - work
    keys.clear()
    peak = round(terminal.memory(peak=True) / 2**20)
    return keys.figures("key") | {"all_cpu_ms": _ms(work), "whole": whole, "peak_mib": peak}


def marks() -> Iterator[str]:
    """Yield letters: what one stream left on the screen is no piece of the next."""
    while True:
        yield from "bcdfghjkmqrvwxz"


def _play(terminal: Terminal, kind: str, count: int, rate: int, mark: str) -> int:
    terminal.send(f"play {kind} {count} {rate} {mark}")
    time.sleep(0.4)
    since = len(terminal.pieces)
    terminal.send("\r")
    return since


def _drawn(terminal: Terminal, since: int, mark: str) -> float:
    """Return how many numbered pieces a second were drawn, from the first to the last."""
    drawn: list[tuple[float, int]] = []
    tail = b""
    for when, data in terminal.pieces[since:]:
        tail = tail[-16:] + data
        found = re.findall(mark.encode() + rb"(\d{5})", tail)
        if found and (newest := max(map(int, found))) > (drawn[-1][1] if drawn else -1):
            drawn.append((when, newest))
    if len(drawn) < 2 or drawn[-1][0] - drawn[0][0] < 0.5:  # all of it came at the end
        return 0.0
    return round((drawn[-1][1] - drawn[0][1]) / (drawn[-1][0] - drawn[0][0]), 1)


def _median(values: Sequence[float]) -> int:
    return _ms(statistics.median(values)) if values else 0


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
