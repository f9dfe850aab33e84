"""The list of files above the composer, while the name of one is being typed."""

from typing import Final

from textual.content import Content
from textual.widgets import Static

from runner.base.text import clean_name
from runner.chat.files.candidates import Candidate, Candidates
from runner.tui.fit import ROOMY

ROWS, ROWS_COMPACT = 8, 3
_EDGE: Final = 8  # cells beside a row: padding and mark
_NONE: Final = Candidates("")


class FileList(Static):
    """Shows what fits, one row marked. It takes no focus: the field passes its keys on."""

    SCOPED_CSS = False  # the screen's class counts
    DEFAULT_CSS = """
    FileList { height: auto; padding: 0 3; display: none; text-wrap: nowrap;
        text-overflow: ellipsis; color: $foreground-muted; }
    .-compact FileList { padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.found = _NONE
        self._at = 0

    @property
    def marked(self) -> Candidate | None:
        """The row that is marked, None where there is none."""
        return self.found.rows[self._at] if self.found.rows else None

    def show(self, found: Candidates) -> None:
        """Show what fits; nothing where nothing does."""
        self.found, self._at = found, 0
        self.display = bool(found.rows)
        self._draw()

    def hide(self) -> None:
        """Show nothing."""
        self.show(_NONE)

    def move(self, step: int) -> None:
        """Mark another row; after the last comes the first."""
        if self.found.rows:
            self._at = (self._at + step) % len(self.found.rows)
            self._draw()

    def on_resize(self) -> None:
        """Fit the rows to the new width."""
        self._draw()

    def _draw(self) -> None:
        rows = self.found.rows
        most = ROWS if self.app.size.height >= ROOMY else ROWS_COMPACT
        first = max(0, min(self._at - most // 2, len(rows) - most))
        room = max(10, self.app.size.width - _EDGE)
        lines = []
        for place, row in enumerate(rows[first : first + most], first):
            text = clean_name(row.path, room - len(row.detail) - 2 if row.detail else room)
            mark, style = ("▸ ", "$text-primary") if place == self._at else ("  ", "$text")
            lines.append(Content.assemble((mark + text, style), f"  {row.detail}".rstrip()))
        if self.found.cut and most == ROWS:
            lines.append(Content("  and more: type more of the path"))
        self.update(Content("\n").join(lines))
