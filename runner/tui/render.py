"""Markdown in rows of styled text.

Every style is a theme variable, so that a change of theme needs no new layout; a change of width
does, because lists and quotes indent what they wrap. What a row looks like depends on what stands
before it and little after (`growing` says what for): blank lines are where the source has them, an
item's number takes its own room, a table's first rows decide about its columns, and long
paragraphs and code are laid out in pieces.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from textual.content import Content

from runner.tui.code import painted
from runner.tui.formula import add_formulas, readable
from runner.tui.lines import LIMITS, Limits, bounded
from runner.tui.rows import COPY, MEASURE, MUTED, Row, Rows

CODE = "$text-accent"
LINK = "$text-primary underline"
HEADINGS = {"h1": "bold $primary", "h2": "bold $primary"}
LEAST = 4  # narrower columns are not worth an indent
TABLE_GAP = 2
LANGUAGE_CHARS = 40

# Link definitions are shown as they were written: one at the end would change what stands above.
_parser = add_formulas(MarkdownIt("gfm-like").disable("reference"))


Columns = tuple[int, ...]  # widths of a table's columns; none where it is laid out as lists


@dataclass(frozen=True, slots=True)
class Page:
    """What is laid out: source lines, of which the first `head` only say what the rest is in.

    `numbers`: of the first item of a list that goes on, and `columns` of a table, by source line
    (and level). `continues`: rows stand above these.
    """

    lines: Sequence[str]
    head: int = 0
    numbers: Mapping[tuple[int, int], int] = field(default_factory=dict)
    columns: Mapping[int, Columns] = field(default_factory=dict)
    continues: bool = False
    limits: Limits = LIMITS

    def gap(self, line: int) -> bool:
        """Whether what begins at a line is set off by a blank one."""
        return line > self.head and self.blank(line - 1)

    def blank(self, line: int) -> bool:
        """Whether a line is blank, in quotes too."""
        return not self.lines[line].strip(" >")


def markdown_lines(text: str, width: int, limits: Limits = LIMITS) -> list[Content]:
    """Return the lines of the Markdown `text`, none longer than `width` cells."""
    page = Page(bounded(text, limits), limits=limits)
    return [row.content for row in page_rows(page, parsed(page), width)]


def parsed(page: Page) -> SyntaxTreeNode:
    """Return the tree of a page."""
    return SyntaxTreeNode(_parser.parse("\n".join(page.lines)))


def page_rows(page: Page, tree: SyntaxTreeNode, width: int) -> Rows:
    """Return the rows of a page, without those of its head."""
    rows = _blocks(page, tree.children, max(width, 2), below=page.continues and not page.head)
    return [row for row in rows if row.line >= page.head]


def first_line(node: SyntaxTreeNode) -> int:
    """Return the source line at which a block begins."""
    return node.map[0] if node.map else 0


def _blocks(
    page: Page, nodes: Iterable[SyntaxTreeNode], width: int, *, below: bool = False
) -> Rows:
    """Lay blocks out; `below`: there are rows above them."""
    rows: Rows = []
    for node in nodes:
        block = _BLOCKS.get(node.type, _literal)(page, node, width)
        if (rows or below) and block and page.gap(first_line(node)):
            rows.append(Row(Content(""), first_line(node)))
        rows += block
    return rows


def _paragraph(page: Page, node: SyntaxTreeNode, width: int) -> Rows:
    rows: Rows = []
    for line, content in _pieces(page, node):
        rows += _wrap(content, width, line)
    return rows


def _heading(page: Page, node: SyntaxTreeNode, width: int) -> Rows:
    *before, (last, content) = _pieces(page, node)
    rows: Rows = []  # a paragraph of many lines that turned out to be a heading by its last one
    for line, piece in before:
        rows += _wrap(piece, width, line)
    return rows + _wrap(content.stylize_before(HEADINGS.get(node.tag, "bold")), width, last)


def _pieces(page: Page, node: SyntaxTreeNode) -> Iterator[tuple[int, Content]]:
    """Yield a paragraph in parts, each with the source line where it begins."""
    start = first_line(node)
    lines = "".join(child.content for child in node.children).split("\n")
    cuts = [0, *paragraph_cuts(page, start, [len(line) for line in lines]), len(lines)]
    if len(cuts) == 2:
        yield start, _inline(node)
        return
    for begin, end in pairwise(cuts):
        if start + end > page.head:
            tokens = _parser.parseInline("\n".join(lines[begin:end]).strip())
            yield start + begin, _inline(SyntaxTreeNode(tokens))


def paragraph_cuts(page: Page, start: int, lengths: Sequence[int]) -> list[int]:
    """Return where a paragraph that begins at a line is cut, as indexes of its lines."""
    cuts: list[int] = []
    size = 0
    for index, length in enumerate(lengths):
        if size >= page.limits.piece or (index and start + index == page.head):
            cuts.append(index)
            size = 0
        size += length
    return cuts


def _list(page: Page, node: SyntaxTreeNode, width: int) -> Rows:
    rows: Rows = []
    number = list_start(page, node)
    for item in node.children:
        line = first_line(item)
        # Room for two digits: the ninth item stands as the tenth will.
        mark = f"{number:>2}. " if node.type == "ordered_list" else "• "
        number += 1
        body = _indent(page, item.children, Content.styled(mark, MUTED), width)
        body = body or _wrap(Content.styled(mark, MUTED), width, line)
        if rows and page.gap(line):
            rows.append(Row(Content(""), line))
        rows += body
    return rows


def list_start(page: Page, node: SyntaxTreeNode) -> int:
    """Return the number of a list's first item."""
    start = node.attrs.get("start", 1)
    number = start if isinstance(start, int) else 1
    return page.numbers.get((first_line(node), node.level), number)


def _indent(page: Page, nodes: Sequence[SyntaxTreeNode], mark: Content, width: int) -> Rows:
    """Lay blocks out beside a mark, so that what wraps stays clear of it."""
    room = mark.cell_length
    if width - room < LEAST:
        return _blocks(page, nodes, width)
    rest = Content(" " * room)
    body = _blocks(page, nodes, width - room)
    return [
        row._replace(content=(rest if index else mark) + row.content)
        for index, row in enumerate(body)
    ]


def _quote(page: Page, node: SyntaxTreeNode, width: int) -> Rows:
    bar = Content.styled("▌ ", MUTED)
    if width - bar.cell_length < LEAST:
        return _blocks(page, node.children, width)
    body = _blocks(page, node.children, width - bar.cell_length)
    return [row._replace(content=bar + row.content.stylize_before(MUTED)) for row in body]


def _fence(page: Page, node: SyntaxTreeNode, width: int) -> Rows:
    language = language_of(node)
    head = Content.styled(language if width > len(language) + len(COPY) else "", MUTED)
    if width > len(COPY):
        head = head.pad_right(max(0, width - head.cell_length - len(COPY)))
        head += Content.styled(COPY, MUTED)
    head = head.stylize_before("on $surface")
    line = first_line(node)
    return [Row(head, line, copies=True), *_code(page, node, width, line + 1)]


def language_of(node: SyntaxTreeNode) -> str:
    """Return the language that a code block names, empty where it names none."""
    return node.info.split(maxsplit=1)[0][:LANGUAGE_CHARS] if node.info.strip() else ""


def _indented_code(page: Page, node: SyntaxTreeNode, width: int) -> Rows:
    return _code(page, node, width, first_line(node))


def _code(page: Page, node: SyntaxTreeNode, width: int, start: int) -> Rows:
    rows: Rows = []
    lines, start = code_lines(page, node, start)
    for contents, _ in painted(lines, language_of(node), page.limits.window):
        for content in contents:
            # Folded, not wrapped: in code every blank counts.
            for piece in content.fold(width) if content.cell_length > width else [content]:
                padded = piece.pad_right(max(0, width - piece.cell_length))
                rows.append(Row(padded.stylize_before("on $surface"), start))
            start += 1
    return rows


def code_lines(page: Page, node: SyntaxTreeNode, start: int) -> tuple[list[str], int]:
    """Return the lines of a code block that are not in the head, and where they begin."""
    if not node.content:
        return [], start
    skipped = max(0, page.head - start)
    return node.content.removesuffix("\n").split("\n")[skipped:], start + skipped


def _rule(_: Page, node: SyntaxTreeNode, width: int) -> Rows:
    return [Row(Content.styled("─" * min(width, MEASURE), MUTED), first_line(node))]


def _literal(page: Page, node: SyntaxTreeNode, width: int) -> Rows:
    """Show what is not known, HTML above all, as it was written."""
    if node.children and not node.content:
        return _blocks(page, node.children, width)
    rows: Rows = []
    for number, line in enumerate(node.content.rstrip("\n").split("\n"), first_line(node)):
        rows += _wrap(Content(line), width, number)
    return rows


def _table(page: Page, node: SyntaxTreeNode, width: int) -> Rows:
    lines = [row for part in node.children for row in part.children]
    rows = [[_cell(cell) for cell in row.children] for row in lines]
    columns = table_columns(page, node, width, rows)
    numbers = [first_line(row) for row in lines]
    if not columns:
        goes_on = first_line(node) in page.columns
        return _narrow_table(rows, numbers, width, goes_on=goes_on)
    aligned = [_align(cell) for cell in lines[0].children]
    laid: Rows = []
    for index, (row, line) in enumerate(zip(rows, numbers, strict=True)):
        cells = row if index else [cell.stylize_before("bold") for cell in row]
        wrapped = [
            [piece for part in cell.split("\n", allow_blank=True) for piece in part.wrap(room)]
            for cell, room in zip(cells, columns, strict=False)
        ]
        for number in range(max((len(cell) for cell in wrapped), default=0)):
            pieces = [cell[number] if number < len(cell) else Content("") for cell in wrapped]
            padded = [
                align(piece, room)
                for piece, room, align in zip(pieces, columns, aligned, strict=False)
            ]
            laid.append(Row(Content(" " * TABLE_GAP).join(padded), line))
        if not index:
            rules = (" " * TABLE_GAP).join("─" * room for room in columns)
            laid.append(Row(Content.styled(rules, MUTED), line))
    return laid


def _cell(node: SyntaxTreeNode) -> Content:
    return _inline(node)


def _align(cell: SyntaxTreeNode) -> Callable[[Content, int], Content]:
    """Return what fills a cell of a column, as its head says (`---:`)."""
    style = str(cell.attrs.get("style", ""))

    def fill(content: Content, room: int) -> Content:
        free = max(0, room - content.cell_length)
        left = free if "right" in style else free // 2 if "center" in style else 0
        return content.pad_left(left).pad_right(free - left)

    return fill


def table_columns(
    page: Page,
    node: SyntaxTreeNode,
    width: int,
    rows: Sequence[Sequence[Content]] | None = None,
) -> Columns:
    """Return the widths of a table's columns, none where they do not fit.

    Its first rows decide, what each wants; the widest is cut first where that is too much.
    """
    if (known := page.columns.get(first_line(node))) is not None:
        return known
    if rows is None:
        lines = [row for part in node.children for row in part.children]
        rows = [[_cell(cell) for cell in row.children] for row in lines[: page.limits.rows]]
    rows = rows[: page.limits.rows]
    widths = [
        max((row[column].cell_length for row in rows if column < len(row)), default=1) or 1
        for column in range(max((len(row) for row in rows), default=0))
    ]
    room = width - TABLE_GAP * (len(widths) - 1)
    while sum(widths) > room and max(widths) > LEAST:
        widest = widths.index(max(widths))
        widths[widest] = max(LEAST, widths[widest] - (sum(widths) - room + 1) // 2)
    return tuple(widths) if sum(widths) <= room else ()


def _narrow_table(
    rows: Sequence[Sequence[Content]], numbers: Sequence[int], width: int, *, goes_on: bool
) -> Rows:
    """Lay a table out as lists, where its columns do not fit."""
    head = rows[0]
    laid: Rows = []
    for row, line in zip(rows[1:], numbers[1:], strict=True):
        if laid or goes_on:
            laid.append(Row(Content(""), line))
        for name, cell in zip(head, row, strict=False):
            laid += _wrap(name.stylize_before("bold") + Content(": ") + cell, width, line)
    return laid


def _wrap(content: Content, width: int, line: int) -> Rows:
    room = min(width, MEASURE)
    return [
        Row(piece, line)
        for part in content.split("\n", allow_blank=True)
        for piece in part.wrap(room)
    ]


def _inline(node: SyntaxTreeNode) -> Content:
    return Content("").join([_span(child) for child in node.children])


def _span(node: SyntaxTreeNode) -> Content:
    match node.type:
        case "inline":
            return _inline(node)
        case "softbreak":
            return Content(" ")
        case "hardbreak":
            return Content("\n")
        case "code_inline":
            return Content.styled(node.content, CODE)
        case "formula":
            return Content.styled(readable(node.content), "italic")
        case "strong":
            return _inline(node).stylize_before("bold")
        case "em":
            return _inline(node).stylize_before("italic")
        case "s":
            return _inline(node).stylize_before("strike")
        case "link":
            return _link(_inline(node), str(node.attrs.get("href", "")))
        case "image":
            return _link(Content(node.content or "picture"), str(node.attrs.get("src", "")))
        case _:
            return Content(node.content) if not node.children else _inline(node)


def _link(text: Content, href: str) -> Content:
    """Show where a link leads: its text is the model's, and nothing here opens it."""
    shown = text.stylize_before(LINK)
    bare = href.removeprefix("mailto:").removeprefix("http://").removeprefix("https://")
    if not href or text.plain in (href, bare, bare.rstrip("/")):
        return shown
    return shown + Content.styled(f" ({href})", MUTED)


_BLOCKS: dict[str, Callable[[Page, SyntaxTreeNode, int], Rows]] = {
    "paragraph": _paragraph,
    "heading": _heading,
    "bullet_list": _list,
    "ordered_list": _list,
    "blockquote": _quote,
    "fence": _fence,
    "code_block": _indented_code,
    "hr": _rule,
    "table": _table,
}
