"""Lines between the transcript and the composer: what goes with the message, and what waits."""

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from runner.tui.fit import ROOMY


class NoteLines(Static):
    """Lines of one kind, none where there is nothing to say."""

    SCOPED_CSS = False  # the screen's class counts
    DEFAULT_CSS = """
    NoteLines { height: auto; padding: 0 3; color: $text-accent; display: none;
        text-wrap: nowrap; text-overflow: ellipsis; }
    .-compact NoteLines { padding: 0 1; }
    """
    ROWS, ROWS_COMPACT = 1, 1

    @property
    def rows(self) -> int:
        """How many lines there is room for."""
        return self.ROWS if self.app.size.height >= ROOMY else self.ROWS_COMPACT

    def say(self, lines: Sequence[Content]) -> None:
        """Show lines, or nothing."""
        self.display = bool(lines)
        self.update(Content("\n").join(lines))
