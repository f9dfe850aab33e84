"""A disk that fails at any moment of a chat: each call of it in turn, once or from then on."""

import contextlib
import errno
import io
import os
import tempfile
from collections.abc import Callable
from typing import Any, Self

import pytest
from PIL import Image

from runner.chat.conversation import Conversation
from runner.chat.events import Finished, Reasoning, Text
from runner.chat.farewell import farewell
from runner.chat.sessions.store import Session
from runner.chat.turn import Turn
from runner.chat.wire import Picture

_PNG = io.BytesIO()
Image.new("RGB", (8, 8), "red").save(_PNG, "PNG")
PICTURE = Picture("a.png", "image/png", _PNG.getvalue(), 8, 8, 1)


class FailingDisk:
    """Counts what is asked of the disk; the call number `at` fails, or all `onwards` from it.

    A write that fails has written a part.
    """

    def __init__(self, at: int, *, onwards: bool, error: BaseException | None = None) -> None:
        self.calls = 0
        self._at = at
        self._onwards = onwards
        self._error = error or OSError(errno.ENOSPC, "No space left on device")
        self.off = False

    def asked(self) -> None:
        if self.off:
            return
        self.calls += 1
        if self.calls == self._at or (self._onwards and self.calls > self._at):
            raise self._error

    def wraps(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.asked()
            return real(*args, **more)

        return call

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("open", "replace", "mkdir"):
            patch.setattr(os, name, self.wraps(getattr(os, name)))
        patch.setattr(os, "fsync", self.wraps(lambda _: None))  # the machine does not fail here
        patch.setattr(tempfile, "mkstemp", self.wraps(tempfile.mkstemp))
        real = os.fdopen
        patch.setattr(os, "fdopen", lambda *args, **more: FailingFile(real(*args, **more), self))


class FailingFile:
    """A file of that disk."""

    def __init__(self, real: Any, disk: FailingDisk) -> None:
        self._real = real
        self._disk = disk

    def __enter__(self) -> Self:
        self._real.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._real.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def write(self, data: Any) -> Any:
        try:
            self._disk.asked()
        except BaseException:
            self._real.write(data[: len(data) // 2])
            raise
        return self._real.write(data)


class Day:
    """A chat with all that is saved. `flushed`: what `flush` said each time."""

    def __init__(self) -> None:
        self.chat = Conversation("Fake 1B")
        self.flushed: list[bool] = []
        self.warnings: list[str] = []

    def flush(self) -> None:
        good = self.chat.flush()
        self.flushed.append(good)
        self.warnings += self.chat.warnings
        self.chat.warnings.clear()

    def ask(self, turn: Turn, *words: str) -> None:
        self.chat.keep_draft("", ())
        self.chat.asked(turn)
        self.flush()
        turn.begin()
        for number, word in enumerate(words):
            kind = Text if number else Reasoning
            turn.apply(kind(word), float(number))
            self.chat.growing(turn)
            self.flush()
        turn.apply(Finished(), 9.0)
        self.chat.ended(turn)
        self.flush()

    def run(self) -> None:
        chat = self.chat
        for text in ("half", "half a thought"):
            chat.keep_draft(text, (PICTURE,))
            self.flush()
        self.ask(chat.append("question one", (PICTURE,)), "hm one", "answer ", "one")
        self.ask(chat.append("question two", ()), "hm two", "answer ", "two")
        self.ask(chat.regenerate(chat.turns[-1]), "hm again", "answer ", "three")
        self.ask(chat.edit(chat.turns[-1], "question four", ()), "hm four", "answer ", "four")
        chat.switch(chat.turns[-1], -1)
        self.flush()
        chat.rename("A name")
        self.flush()
        chat.keep_draft("unsent", ())
        self.flush()


def found(session_id: str) -> dict[str, Any]:
    """Return all that a chat has when it is opened again."""
    chat = Conversation("Fake 1B", session_id)
    try:
        texts = set()
        for each in chat.session.tree.entries.values():
            texts |= {each.message.text, each.message.reasoning}
            texts |= {picture.name for picture in each.message.pictures}
        return {
            "texts": texts - {""},
            "shown": [(turn.text, turn.answer) for turn in chat.turns],
            "name": chat.session.tree.name,
            "draft": chat.draft.text if chat.draft else "",
            "warnings": [text for text in chat.warnings if "cut short" not in text],
        }
    finally:
        chat.session.release()


WHOLE = {
    "texts": {
        *("question one", "hm one", "answer one", "a.png", "question two", "hm two", "answer two"),
        *("hm again", "answer three", "question four", "hm four", "answer four"),
    },
    "shown": [("question one", "answer one"), ("question two", "answer three")],
    "name": "A name",
    "draft": "unsent",
    "warnings": [],
}


def calls_of_a_day(monkeypatch: pytest.MonkeyPatch) -> int:
    disk = FailingDisk(0, onwards=False)
    with monkeypatch.context() as patch:
        disk.patch(patch)
        day = Day()
        day.run()
        day.chat.close()
    assert all(day.flushed)
    assert day.warnings == []
    assert found(day.chat.session.id) == WHOLE
    return disk.calls


@pytest.mark.parametrize("onwards", [False, True])
def test_a_disk_that_is_full_for_a_while_costs_nothing(monkeypatch, tmp_path, onwards):
    for at in range(1, calls_of_a_day(monkeypatch) + 1):
        monkeypatch.setenv("STEPRUN_HOME", str(tmp_path / f"{onwards}{at}"))
        disk = FailingDisk(at, onwards=onwards)
        with monkeypatch.context() as patch:
            disk.patch(patch)
            day = Day()
            day.run()
        day.flush()  # there is room again
        day.chat.close()
        assert found(day.chat.session.id) == WHOLE, f"call {at}"
        failed = [good for good in day.flushed if not good]
        if failed:  # the list of titles is a cache: it may fail quietly
            said = [text for text in day.warnings if "not being saved" in text]
            assert said, f"call {at}"
            assert "Free some space" in said[0]
            assert len(said) == len(set(said)), f"call {at}: each file's trouble is said once"
            assert "being saved again" in day.warnings[-1], f"call {at}"


def test_what_was_written_before_a_disk_is_full_for_good_stays(monkeypatch, tmp_path):
    last: set[str] = set()
    for at in range(1, calls_of_a_day(monkeypatch) + 1):
        monkeypatch.setenv("STEPRUN_HOME", str(tmp_path / f"full{at}"))
        with monkeypatch.context() as patch:
            FailingDisk(at, onwards=True).patch(patch)
            day = Day()
            day.run()
            day.chat.close()
        assert day.chat.trouble is not None or all(day.flushed)
        left = found(day.chat.session.id) if day.chat.session.path.is_file() else {"texts": set()}
        for text in last:  # at worst it has grown
            assert any(each.startswith(text) for each in left["texts"]), f"call {at}: {text}"
        last = left["texts"]
        if day.chat.trouble is not None:
            (line,) = (each for each in farewell(day.chat, ()) if "not saved whole" in each)
            assert "Free some space" in line


class Killed(BaseException):
    """The program was killed."""


def test_a_chat_that_is_killed_at_any_call_keeps_what_was_written(monkeypatch, tmp_path):
    for at in range(1, calls_of_a_day(monkeypatch) + 1):
        monkeypatch.setenv("STEPRUN_HOME", str(tmp_path / f"killed{at}"))
        day = Day()
        with monkeypatch.context() as patch:
            FailingDisk(at, onwards=True, error=Killed()).patch(patch)
            with contextlib.suppress(Killed):
                day.run()
                day.chat.close()
        done = len(day.flushed)
        day.chat.session.release()
        session = Session(day.chat.session.id)
        if not session.path.is_file():
            assert done <= 3
            continue
        left = found(session.id)
        assert left["warnings"] == [], f"call {at}"
        # Two drafts; then a question, three parts and an end for each of four answers.
        answers = min(4, (done - 2) // 5)
        for number, word in enumerate(("one", "two", "three", "four")[:answers]):
            assert f"answer {word}" in left["texts"], f"call {at}, answer {number}"
