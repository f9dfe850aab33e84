"""The bar on a terminal: nothing is drawn before there is progress."""

import io
import sys

import pytest

from runner.base.progress import Phase, Progress
from runner.cli.progress import shown


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, *events: Progress) -> str:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    with shown() as report:
        for event in events:
            report(event)
    return screen.getvalue()


def test_no_bar_is_drawn_before_there_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "━" not in drawn(monkeypatch)


def test_a_bar_is_drawn_with_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "━" in drawn(monkeypatch, Progress(next(iter(Phase)), 1, 2))
