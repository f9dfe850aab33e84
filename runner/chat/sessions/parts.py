"""The part of an answer that has arrived, as lines that grow with it. Pure.

The first line says which answer it is and what it follows; each later one what has arrived since
the one before. So what is written in all is as long as the answer, however often it is saved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from runner.chat.sessions.entries import (
    Keep,
    Load,
    SessionEntry,
    answered,
    line,
    record_of,
    step_record,
    to_entry,
    to_step,
)
from runner.chat.steps import TurnStep
from runner.chat.untrusted import mapping


class PartLines:
    """Makes the lines of one answer."""

    def __init__(self, answer_id: str, parents: Sequence[str]) -> None:
        self.answer_id = answer_id
        self._head: Mapping[str, Any] = {
            "id": answer_id,
            "parents": list(parents),
            "role": "assistant",
            "steps": [],
        }
        self._written: list[TurnStep] = []
        self._number = 0

    @property
    def begun(self) -> bool:
        """Whether any line was written."""
        return self._number > 0

    def more(self, steps: Sequence[TurnStep], keep: Keep) -> bytes:
        """Return the lines to append now that there are these steps; empty where none is due."""
        if list(steps) == self._written and self.begun:
            return b""
        grown = len(steps) >= len(self._written) and all(map(_grew, self._written, steps))
        since: list[dict[str, Any]] = []
        for at, step in enumerate(steps):
            before = self._written[at] if grown and at < len(self._written) else None
            if before is None:
                since.append({"at": at, **step_record(step, keep)})
            elif before != step:
                rest = replace(step, text=step.text[len(before.text) :], pictures=())
                since.append({"at": at, **step_record(rest, keep)})
        record = {"n": self._number + 1, "steps": since, **({} if grown else {"whole": True})}
        return (b"" if self.begun else line(self._head)) + line(record)

    def wrote(self, steps: Sequence[TurnStep]) -> None:
        """Take note that the lines of these steps are on the disk."""
        self._written = [replace(step) for step in steps]
        self._number += 1


def _grew(before: TurnStep, now: TurnStep) -> bool:
    same = (before.kind, before.pictures) == (now.kind, now.pictures)
    return same and now.text.startswith(before.text)


def read_part(lines: Sequence[bytes], load: Load) -> SessionEntry | None:
    """Return the answer that was cut off, up to the first line that cannot be read; None: none."""
    head = to_entry(record_of(lines[0]), load) if lines else None
    if head is None or head.asks or not head.id:
        return None
    steps: list[TurnStep] = []
    number = 1
    for record in map(record_of, lines[1:]):
        saved = record.get("steps")
        if record.get("n") != number or not isinstance(saved, list):
            if record:
                break
            continue  # a disk that was full for a moment leaves half a line, and the whole after it
        number += 1
        if record.get("whole") is True:
            steps = []
        for each in map(mapping, saved):
            step, at = to_step(each, load), each.get("at")
            if step is None or not isinstance(at, int) or not 0 <= at <= len(steps):
                break
            if at == len(steps):
                steps.append(step)
            else:
                step.text = steps[at].text + step.text
                step.pictures = steps[at].pictures
                steps[at] = step
    return answered(steps, cut=True, id=head.id, parents=head.parents)
