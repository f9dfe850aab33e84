"""A text of a turn, laid out a share at a time."""

import subprocess
import sys

import pytest

from runner.tui.flow import STEP_S, Flow
from runner.tui.growing import GrowingMarkdown
from runner.tui.render import markdown_lines
from runner.tui.rows import SLICE, GrowingWords


@pytest.fixture
def _slow(monkeypatch):
    """Each look at the clock finds that a quarter of a step has passed."""
    now = iter(range(10**6))
    monkeypatch.setattr("runner.tui.flow.time.thread_time", lambda: next(now) * STEP_S / 4)


def rows(shown: Flow) -> list[str]:
    return [shown[index].content.plain for index in range(len(shown))]


@pytest.mark.usefixtures("_slow")
@pytest.mark.parametrize("make", [GrowingMarkdown, GrowingWords])
def test_a_step_takes_its_share_and_the_rest_follows(make):
    text = "".join(f"- point {number} of very many\n" for number in range(3000))
    shown = Flow(make)
    shown.fit(60)
    shown.show(text)
    before, steps = 0, 0
    while shown.behind:
        shown.step()
        steps += 1
        assert len(shown) - before <= 4 * SLICE / 10
        before = len(shown)
    assert steps >= len(text) // SLICE // 4
    if make is GrowingMarkdown:
        assert rows(shown) == [line.plain for line in markdown_lines(text, 60)]


def test_a_text_that_is_another_one_begins_again():
    shown = Flow(GrowingMarkdown)
    shown.fit(40)
    for text in ("one", "one **two**", "three", "", "thr"):
        shown.show(text)
        shown.step()
        assert rows(shown) == [line.plain for line in markdown_lines(text, 40)]


def test_another_width_is_another_layout():
    shown = Flow(GrowingMarkdown)
    shown.show("some words that wrap")
    assert shown.fit(10)
    shown.step()
    assert not shown.fit(10)
    assert rows(shown) == ["some words", "that wrap"]


def test_the_window_opens_without_markdown():
    late = ["markdown_it", "pygments.lexers", "pylatexenc", "textual.widgets._markdown"]
    code = f"import sys, runner.tui.app; print([name for name in {late} if name in sys.modules])"
    argv = [sys.executable, "-c", code]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == "[]\n"
