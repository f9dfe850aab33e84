"""The panel of `/status`: all figures as one text. Pure."""

from typing import Final

from rich.cells import cell_len
from textual.content import Content

from runner.tui.figure_rows import Group
from runner.tui.rows import MUTED

NAME: Final = 12  # cells of a row's name
TIGHT: Final = 40  # cells; a narrower panel has no room for names beside the texts


def panel_content(title: str, groups: list[Group], width: int) -> Content:
    """Return the panel for a screen of `width` cells."""
    narrow = width < TIGHT + NAME
    lines = [Content.styled(title, "bold $primary"), Content("")]
    for name, rows in groups:
        if not rows:
            continue
        lines.append(Content.styled(name, "bold $primary"))
        for label, text in rows:
            gap = "\n  " if narrow else " " * max(1, NAME + 2 - cell_len(label))
            lines.append(Content.assemble((label, MUTED), gap, text))
        lines.append(Content(""))
    return Content("\n").join([*lines, Content.styled("Esc closes this.", MUTED)])
