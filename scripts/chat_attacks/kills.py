"""A chat in a pseudo terminal that is typed into, answered and killed at a moment nobody chose."""

import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pexpect

from chat_attacks.engine import WordEngine
from runner.chat.conversation import Conversation
from runner.chat.sessions.store import find_session

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = _ROOT / "tests/fakes/chat_program.py"
_WORD = re.compile(r"[a-z]+\d+")  # as the typist and the engine write them
START_S = 120.0
IDLE_S = 0.7  # before the next question is sent: the chat has seen the end of the answer
PER_CHAT = 5  # kills, then another chat begins


class Lost(Exception):  # noqa: N818 - what it is about, not a fault of this script
    """The chat lost what it must not."""


@dataclass
class Report:
    """What came of the kills. `oldest_s`: the age of the oldest word that was lost."""

    killed: Counter[str] = field(default_factory=Counter)
    typed: int = 0
    received: int = 0
    lost: int = 0
    oldest_s: float = 0.0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Kept:
    """What is found after a kill: all words of the chat, and what it says of itself."""

    words: frozenset[str]
    questions: int
    warnings: tuple[str, ...]


def missing(
    said: Iterable[tuple[float, str]], kept: frozenset[str], killed_at: float
) -> list[tuple[float, str]]:
    """Return the words that are lost, each with its age in seconds when the kill came. Pure."""
    return [(killed_at - at, word) for at, word in said if word not in kept]


def look() -> Kept:
    """Open the newest chat as the next program would, and let go of it."""
    conversation = Conversation("Fake 1B", find_session())
    try:
        draft = conversation.draft.text if conversation.draft is not None else ""
        texts = [draft]
        for turn in conversation.turns:
            for at in range(conversation.siblings(turn)[1]):
                each = conversation.switch(turn, at - conversation.siblings(turn)[0] + 1)
                texts += [each.text, each.reasoning, each.answer]
                turn = each  # noqa: PLW2901 - the version that stands now
        # A draft that was saved between a word and the blank after it goes on without that blank.
        words = frozenset(word for text in texts for word in _WORD.findall(text))
        return Kept(words, len(conversation.turns), tuple(conversation.warnings))
    finally:
        conversation.session.release()  # nothing is written: the next program finds what this did


@dataclass(frozen=True)
class Until:
    """How a chat is run: `words` that follow its address, and `seconds` at most."""

    words: Sequence[str]
    seconds: float


class Typist:
    """Types numbered words into a running chat, and sends some of them off."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._count = 0
        self.said: list[tuple[float, str]] = []

    def step(self, child: "pexpect.spawn[bytes]", engine: WordEngine, idle_s: float) -> None:
        """Type a word, or send what was typed where nothing is answered."""
        if not engine.step and idle_s > IDLE_S and self._dice.random() < 0.5:
            child.send("\r")
            return
        self._count += 1
        word = f"t{self._count}"
        child.send(f"{word} ")
        self.said.append((time.monotonic(), word))


def attack(
    folder: Path, count: int, dice: random.Random, most_s: float, *, only_s: float = 10.0
) -> Report:
    """Kill a chat so many times; say what was lost that was older than `most_s` seconds."""
    report = Report()
    for number in range(count):
        home = folder / f"chat{number // PER_CHAT}"
        os.environ["STEPRUN_HOME"] = str(home)
        if number % PER_CHAT == 0:
            typist = Typist(dice)
            before: list[tuple[float, str]] = []
        with WordEngine(random.Random(dice.random())) as engine:  # noqa: S311 - chance
            resume = [] if number % PER_CHAT == 0 else ["latest"]
            began = len(typist.said)
            until = Until(resume, only_s)
            state, killed_at = _until_killed(home, engine, typist, dice, until)
        report.killed[state] += 1
        kept = look() if typist.said else Kept(frozenset(), 0, ())
        report.typed += len(typist.said) - began
        report.received += len(engine.sent)
        gone = missing([*typist.said[began:], *engine.sent], kept.words, killed_at)
        report.lost += len(gone)
        report.oldest_s = max([report.oldest_s, *(age for age, _ in gone)])
        where = f"kill {number} ({state})"
        old = [(age, word) for age, word in gone if age > most_s]
        if old:
            report.failures.append(f"{where}: {len(old)} words, up to {max(old)[0]:.2f} s old")
        if earlier := missing(before, kept.words, killed_at):
            report.failures.append(f"{where}: {len(earlier)} words that an earlier kill had left")
        report.failures += [f"{where}: {text}" for text in kept.warnings]
        before += [each for each in [*typist.said[began:], *engine.sent] if each[1] in kept.words]
    return report


def _until_killed(
    home: Path, engine: WordEngine, typist: Typist, dice: random.Random, until: Until
) -> tuple[str, float]:
    """Run the chat for a while; return what it was doing when it was killed, and when."""
    home.mkdir(parents=True, exist_ok=True)
    child: pexpect.spawn[bytes] = pexpect.spawn(
        sys.executable,
        [str(_PROGRAM), engine.url, str(home / "left"), *until.words],
        dimensions=(24, 80),
        env={**os.environ, "PYTHONPATH": str(_ROOT), "TERM": "xterm-256color"},
    )
    try:
        child.expect_exact(b"ready", timeout=START_S)
        end = time.monotonic() + dice.uniform(0.2, until.seconds)
        cut_at = dice.uniform(0, 2 * until.seconds) + time.monotonic()
        idle_since = time.monotonic()
        while (now := time.monotonic()) < end:
            if engine.step:
                idle_since = now
            if now > cut_at and engine.step:
                engine.cut()
                cut_at = end
            typist.step(child, engine, now - idle_since)
            _drain(child, dice.uniform(0.02, 0.3))
        state, killed_at = engine.step or "typing", time.monotonic()
        child.kill(signal.SIGKILL)
        child.wait()
        return state, killed_at
    finally:
        child.close(force=True)


def _drain(child: "pexpect.spawn[bytes]", seconds: float) -> None:
    """Read what the chat draws for so long: a terminal that is not read stops its program."""
    end = time.monotonic() + seconds
    while (rest := end - time.monotonic()) > 0:
        try:
            child.read_nonblocking(65536, timeout=rest)
        except pexpect.TIMEOUT:
            return
        except pexpect.EOF:
            raise Lost("The chat ended by itself.") from None
