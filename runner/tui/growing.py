"""Markdown that still grows: what is finished is laid out once, what may change each time.

The source up to a line is finished when whatever follows leaves its rows as they are. Markdown is
read line by line, so that is all before the last block of the innermost list item or quote; of a
block of code, a table or a long paragraph also its own lines but the last few. The rest is laid out
below a *head*: one line of each list item and quote that is still open, which says what the rest
is in, and whose rows are left out.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from markdown_it.tree import SyntaxTreeNode

from runner.tui.code import painted
from runner.tui.lines import LIMITS, TAB, Limits, bounded, cut_line
from runner.tui.render import (
    Page,
    code_lines,
    first_line,
    language_of,
    list_start,
    page_rows,
    paragraph_cuts,
    parsed,
    table_columns,
)
from runner.tui.rows import SLICE, Rows

HEAD_CHARS = 200  # of a head's line: only its marks count

_LISTS = ("bullet_list", "ordered_list")
_ITEMS = ("list_item", "blockquote")
# What would open a block in a head's line that nothing closes.
_OPENS = re.compile(r"[`~<|].*")


class GrowingMarkdown:
    """Rows of a text that grows. `finished` rows stay as they are; `live` ones may change."""

    def __init__(self, width: int, limits: Limits = LIMITS) -> None:
        self.width = width
        self.finished: Rows = []
        self._page = Page((), limits=limits)
        self._rest = ""  # of the source, after its last whole line
        self._enough = limits.tail  # characters among which finished ones are looked for

    def grow(self, text: str) -> None:
        """Take more of the source; the work is that of what is new and of the last block."""
        for start in range(0, len(text), SLICE):
            *lines, rest = f"{self._rest}{text[start : start + SLICE]}".split("\n")
            whole = [part for line in lines for part in bounded(line, self._page.limits)]
            parts, self._rest = cut_line(rest, self._page.limits)
            if whole or parts:
                self._page = replace(self._page, lines=(*self._page.lines, *whole, *parts))
                size = self._unfinished()
                if size >= self._enough:
                    self._finish()
                    # What could not be finished is looked through again when there is more of it.
                    left, tail = self._unfinished(), self._page.limits.tail
                    self._enough = tail if left < size else size + tail

    def live(self) -> Rows:
        """Return the rows of the part that may still change."""
        lines = (*self._page.lines, self._rest.expandtabs(TAB))
        page = replace(self._page, lines=lines)
        return page_rows(page, parsed(page), self.width)

    def _unfinished(self) -> int:
        return sum(map(len, self._page.lines[self._page.head :]))

    def _finish(self) -> None:
        page = self._page
        tree = parsed(page)
        after, cut = _cut(page, tree, self.width)
        if after is None:
            return
        rows = page_rows(page, tree, self.width)
        done = [row for row in rows if row.line < cut]
        after = replace(after, continues=page.continues or bool(done))
        # Whether the head stands for what it left out is seen at once; else all stays live.
        left = page_rows(after, parsed(after), self.width)
        if [row.content.plain for row in left] == [row.content.plain for row in rows[len(done) :]]:
            self.finished += done
            self._page = after


def _cut(page: Page, tree: SyntaxTreeNode, width: int) -> tuple[Page | None, int]:
    """Return the page of what is not finished, and where it begins; None where nothing more is."""
    path = _last_path(tree)
    if not path:
        return None, 0
    leaf = path[-1]
    cut, opening = _inside(page, leaf)
    for node in path[:-1]:
        first = _first_leaf(node)
        bare = first is leaf and not opening and first_line(leaf) > first_line(node)
        if first_line(node) < cut and node.type in _ITEMS and (bare or first.type == "code_block"):
            cut, opening = first_line(node), ()  # its first block cannot stand for it
            break
    while not opening and cut > page.head and page.blank(cut - 1):
        cut -= 1
    return (_page_after(page, cut, path, opening, width), cut) if cut > page.head else (None, 0)


def _inside(page: Page, leaf: SyntaxTreeNode) -> tuple[int, tuple[int, ...]]:
    """Return where the unfinished part of the last block begins, and the lines that open it.

    None open it where the whole block is unfinished.
    """
    start = first_line(leaf)
    cut = 0
    opening: tuple[int, ...] = (start,)
    match leaf.type:
        case "paragraph":
            lines = "".join(child.content for child in leaf.children).split("\n")
            cuts = paragraph_cuts(page, start, [len(line) for line in lines])
            cut = start + max(cuts, default=0)
        case "fence" | "code_block":
            lines, begin = code_lines(page, leaf, start + (leaf.type == "fence"))
            groups = painted(lines, language_of(leaf), page.limits.window)
            count = sum(len(group) for group, stays in groups if stays)
            cut = begin + count if count else 0
        case "html_block":
            cut = start + leaf.content.rstrip("\n").count("\n")
        case "table":
            rows = [row for part in leaf.children for row in part.children]
            if start in page.columns or len(rows) > page.limits.rows:
                cut = first_line(rows[-1])
            opening = (start, start + 1)
    return (cut, opening) if cut > max(start, page.head) else (start, ())


def _page_after(
    page: Page, cut: int, path: Sequence[SyntaxTreeNode], opening: Sequence[int], width: int
) -> Page:
    """Return the page of what begins at `cut`, in the blocks of `path` that began before."""
    items = [node for node in path if node.type in _ITEMS and first_line(node) < cut]
    kept = {first_line(node) for node in items} | {*opening}
    kept |= {first_line(_first_leaf(node)) for node in items}
    head: list[str] = []
    places: dict[int, int] = {}  # where the kept lines stand in the head
    for line in sorted(kept):
        places[line] = len(head)
        head.append(page.lines[line] if line in opening else _stub(page.lines[line]))
        bare = any(first_line(node) == line < first_line(_first_leaf(node)) for node in items)
        if line not in opening and not bare:
            above = [node for node in items if first_line(node) <= line]
            quotes = sum(node.type == "blockquote" for node in above)
            head.append(_blank(page.lines[line], quotes))
    begin = next((at for at in range(cut, len(page.lines)) if not page.blank(at)), cut)
    numbers = {}
    for node in path:
        if node.type == "ordered_list" and first_line(node) <= begin:
            before = [first_line(item) for item in node.children if first_line(item) <= begin]
            line = before[-1]
            place = places[line] if line < cut else len(head) + line - cut
            numbers[place, node.level] = list_start(page, node) + len(before) - 1
    columns = {}
    if opening and path[-1].type == "table":
        columns[places[opening[0]]] = table_columns(page, path[-1], width)
    return Page((*head, *page.lines[cut:]), len(head), numbers, columns, limits=page.limits)


def _stub(line: str) -> str:
    """Return a line that opens the same lists and quotes, and no block that stays open."""
    return _OPENS.sub("x", line)[:HEAD_CHARS]


def _blank(line: str, quotes: int) -> str:
    """Return the blank line that leaves open what a line opens: as many quotes."""
    end = 0
    for _ in range(quotes):
        end = line.find(">", end) + 1
    return re.sub("[^>]", " ", line[:end])


def _last_path(tree: SyntaxTreeNode) -> list[SyntaxTreeNode]:
    """Return the blocks that the end of a text is in, the innermost last."""
    path: list[SyntaxTreeNode] = []
    node = tree
    while node.children and (node is tree or node.type in (*_LISTS, *_ITEMS)):
        node = node.children[-1]
        path.append(node)
    return path


def _first_leaf(node: SyntaxTreeNode) -> SyntaxTreeNode:
    while node.children and node.type in (*_LISTS, *_ITEMS):
        node = node.children[0]
    return node
