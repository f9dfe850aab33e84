"""Finished Markdown as one piece of styled text, for one widget instead of dozens.

Every style is a theme variable, so that a change of theme needs no new rendering; a change of
width does, because lists and quotes indent what they wrap.
"""

from collections.abc import Callable, Iterable, Sequence

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from textual.content import Content
from textual.highlight import highlight

CODE = "$text-accent"
LINK = "$text-primary underline"
MUTED = "$foreground-muted"
HEADINGS = {"h1": "bold $primary", "h2": "bold $primary"}
LEAST = 4  # narrower columns are not worth an indent
TABLE_GAP = 2
LANGUAGE_CHARS = 40

Lines = list[Content]

_parser = MarkdownIt("gfm-like")


def markdown_lines(text: str, width: int) -> Lines:
    """Return the lines of the Markdown `text`, none longer than `width` cells."""
    root = SyntaxTreeNode(_parser.parse(text))
    return _blocks(root.children, max(width, 2))


def settled(text: str) -> int:
    """Return how many characters of a growing text will look the same however it continues.

    All but the last two blocks at the top level: the last may still merge into the one before it.
    "#" below a line of text is a heading of its own, "#b" there continues that line. (A link
    definition, which can change any earlier block, takes effect when the answer ends.)
    """
    starts = [token.map[0] for token in _parser.parse(text) if token.level == 0 and token.map]
    lines = text.split("\n")
    return len("".join(f"{line}\n" for line in lines[: starts[-2]])) if len(starts) > 1 else 0


def _blocks(nodes: Iterable[SyntaxTreeNode], width: int, *, tight: bool = False) -> Lines:
    lines: Lines = []
    for node in nodes:
        block = _BLOCKS.get(node.type, _literal)(node, width)
        if lines and block and not tight:
            lines.append(Content(""))
        lines += block
    return lines


def _paragraph(node: SyntaxTreeNode, width: int) -> Lines:
    return _wrap(_inline(node), width)


def _heading(node: SyntaxTreeNode, width: int) -> Lines:
    return _wrap(_inline(node).stylize_before(HEADINGS.get(node.tag, "bold")), width)


def _list(node: SyntaxTreeNode, width: int) -> Lines:
    lines: Lines = []
    start = node.attrs.get("start", 1)
    number = start if isinstance(start, int) else 1
    ordered = node.type == "ordered_list"
    digits = len(str(number + len(node.children) - 1))
    for item in node.children:
        # A blank before the number: the live Markdown has it, and nothing is to jump.
        mark = f" {number:>{digits}}. " if ordered else "• "
        number += 1
        tight = all(child.hidden for child in item.children if child.type == "paragraph")
        body = _indent(item.children, Content.styled(mark, MUTED), width, tight=tight)
        if lines and not tight:
            lines.append(Content(""))
        lines += body or _wrap(Content.styled(mark, MUTED), width)
    return lines


def _indent(
    nodes: Sequence[SyntaxTreeNode], mark: Content, width: int, *, tight: bool = False
) -> Lines:
    """Lay blocks out beside a mark, so that what wraps stays clear of it."""
    room = mark.cell_length
    if width - room < LEAST:
        return _blocks(nodes, width, tight=tight)
    rest = Content(" " * room)
    body = _blocks(nodes, width - room, tight=tight)
    return [(rest if row else mark) + line for row, line in enumerate(body)]


def _quote(node: SyntaxTreeNode, width: int) -> Lines:
    bar = Content.styled("▌ ", MUTED)
    if width - bar.cell_length < LEAST:
        return _blocks(node.children, width)
    body = _blocks(node.children, width - bar.cell_length)
    return [bar + line.stylize_before(MUTED) for line in body]


def _code(node: SyntaxTreeNode, width: int) -> Lines:
    language = node.info.split(maxsplit=1)[0][:LANGUAGE_CHARS] if node.info.strip() else "text"
    code = node.content.rstrip("\n").expandtabs(4)
    lines: Lines = []
    for line in highlight(code, language=language).split("\n", allow_blank=True):
        # Folded, not wrapped: in code every blank counts.
        for piece in line.fold(width) if line.cell_length > width else [line]:
            padded = piece.pad_right(max(0, width - piece.cell_length))
            lines.append(padded.stylize_before("on $surface"))
    return lines


def _rule(_: SyntaxTreeNode, width: int) -> Lines:
    return [Content.styled("─" * width, MUTED)]


def _literal(node: SyntaxTreeNode, width: int) -> Lines:
    """Show what is not known, HTML above all, as it was written."""
    if node.children and not node.content:
        return _blocks(node.children, width)
    return _wrap(Content(node.content.rstrip("\n")), width)


def _table(node: SyntaxTreeNode, width: int) -> Lines:
    rows = [
        [_inline(cell) for cell in row.children] for part in node.children for row in part.children
    ]
    count = max((len(row) for row in rows), default=0)
    if not count:
        return []
    widths = _column_widths(rows, count, width)
    if sum(widths) + TABLE_GAP * (count - 1) > width:
        return _narrow_table(rows, width)
    lines: Lines = []
    for number, row in enumerate(rows):
        cells = [cell.stylize_before("bold") for cell in row] if number == 0 else row
        wrapped = [_wrap(cell, room) for cell, room in zip(cells, widths, strict=False)]
        for line in range(max((len(cell) for cell in wrapped), default=0)):
            pieces = [cell[line] if line < len(cell) else Content("") for cell in wrapped]
            padded = [
                piece.pad_right(max(0, room - piece.cell_length))
                for piece, room in zip(pieces, widths, strict=False)
            ]
            lines.append(Content(" " * TABLE_GAP).join(padded))
        if number == 0:
            rules = ["─" * room for room in widths]
            lines.append(Content.styled((" " * TABLE_GAP).join(rules), MUTED))
    return lines


def _column_widths(rows: Sequence[Sequence[Content]], count: int, width: int) -> list[int]:
    """Return the columns' widths: what each wants, the widest cut first where it is too much."""
    widths = [
        max((row[column].cell_length for row in rows if column < len(row)), default=1) or 1
        for column in range(count)
    ]
    room = width - TABLE_GAP * (count - 1)
    while sum(widths) > room and max(widths) > LEAST:
        widest = widths.index(max(widths))
        widths[widest] = max(LEAST, widths[widest] - (sum(widths) - room + 1) // 2)
    return widths


def _narrow_table(rows: Sequence[Sequence[Content]], width: int) -> Lines:
    """Lay a table out as lists, where its columns do not fit."""
    head, *body = rows
    lines: Lines = []
    for row in body:
        if lines:
            lines.append(Content(""))
        for name, cell in zip(head, row, strict=False):
            lines += _wrap(name.stylize_before("bold") + Content(": ") + cell, width)
    return lines


def _wrap(content: Content, width: int) -> Lines:
    return [piece for line in content.split("\n", allow_blank=True) for piece in line.wrap(width)]


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


_BLOCKS: dict[str, Callable[[SyntaxTreeNode, int], Lines]] = {
    "paragraph": _paragraph,
    "heading": _heading,
    "bullet_list": _list,
    "ordered_list": _list,
    "blockquote": _quote,
    "fence": _code,
    "code_block": _code,
    "hr": _rule,
    "table": _table,
}
