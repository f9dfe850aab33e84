"""The list of MCP servers and their tools: switch a server on or off, take a decision back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from textual.content import Content

from runner.base.text import clean_name
from runner.chat.tools.mcp.box import McpEntry, ServerState
from runner.chat.tools.mcp.config import McpServer
from runner.chat.tools.mcp.permissions import Decision
from runner.tui.chooser import Choice, Chooser
from runner.tui.mcp_words import DECIDED, decided_on, state_of


@dataclass(frozen=True, slots=True)
class McpRow:
    """What a row stands for: a server, or a tool of it (`tool`, as the server calls it)."""

    server: str
    tool: str = ""
    note: str = ""


HELP: Final = McpRow("")


def mcp_rows(
    servers: Mapping[str, McpServer],
    entries: Mapping[str, McpEntry],
    decisions: Mapping[tuple[str, str], Decision],
) -> list[Choice]:
    """Return the rows of all servers and tools, and of what was decided on others. Pure."""
    rows: list[Choice] = []
    listed: set[tuple[str, str]] = set()
    for name in sorted({*servers, *entries}):
        entry, config = entries.get(name), servers.get(name)
        rows.append(Choice(name, McpRow(name, note=_note(entry)), state_of(entry, config)))
        for offer in entry.offers.tools if entry is not None else ():
            key = name, offer.own_name
            listed.add(key)
            decided = decisions.get(key)
            row = McpRow(*key, note="" if decided else "Each call of it needs your permission.")
            rows.append(Choice(f"· {offer.tool.name}", row, decided_on(decided, offer.fingerprint)))
    for key, decision in sorted(decisions.items()):
        if key not in listed:
            text = f"{clean_name(decision.tool, 80)} of {clean_name(decision.server)}, which is off"
            rows.append(Choice(text, McpRow(*key), DECIDED[decision.answer]))
    return [*rows, Choice("How to add a server", HELP)]


def _note(entry: McpEntry | None) -> str:
    if entry is None:
        return ""
    if entry.state is ServerState.ENDED:
        return f"{entry.name} has ended. {entry.why} Enter starts it again."
    if entry.offers.left_out:
        return (
            f"{entry.offers.left_out:,} tools of {entry.name} are left out: too many, or too long."
        )
    return ""


class McpScreen(Chooser):
    """Hands each row that is entered to `act`, and stays open. Returns `HELP` or None."""

    def __init__(self, rows: Sequence[Choice], act: Callable[[McpRow], None]) -> None:
        super().__init__("MCP servers", rows)
        self._keys = "Enter: on or off, or takes a decision back · Esc closes"
        self._act = act

    def replace(self, rows: Sequence[Choice]) -> None:
        """Show the rows as they are now, with the mark where it was."""
        place = self.list.highlighted or 0
        self.choices = list(rows)
        self.show(place)

    def show(self, mark: int = 0) -> None:
        """Show what matches, and what there is to know of the marked row."""
        super().show(mark)
        self._explain()

    def count(self, found: int) -> str:
        """Return nothing: rows are servers, and their tools, and help."""
        del found
        return ""

    def _explain(self) -> None:
        row = self.marked.value if self.marked is not None else HELP
        if row.note:
            self.headline(Content(row.note))

    def action_move(self, where: str) -> None:
        """Move the mark."""
        super().action_move(where)
        self.headline(Content("MCP servers"))
        self._explain()

    def entered(self) -> None:
        """Act on the marked row."""
        if self.marked is not None:
            self.clicked(self.marked.value)

    def clicked(self, row: McpRow) -> None:
        """Act on a row."""
        if row == HELP:
            self.dismiss(HELP)
        else:
            self._act(row)
