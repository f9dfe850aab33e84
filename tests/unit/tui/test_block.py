"""How rows are drawn."""

from textual.color import Color
from textual.content import Content
from textual.style import Style

from runner.tui.block import ROWS, Block, Brush, Part
from runner.tui.fit import Space
from runner.tui.rows import Row

BASE = Style(background=Color.parse("#000000"), foreground=Color.parse("#ffffff"))


class Rows(Block):
    """A block of some rows."""

    def __init__(self, *contents: Content, mark: str = "") -> None:
        super().__init__(3)
        self._shown = Part("rows", [Row(content, 0) for content in contents], Content(mark))

    def _arranged(self, space: Space) -> list[Part]:
        return [self._shown]


def parse(style: str | Style) -> Style:
    return style if isinstance(style, Style) else Style.parse(style)


def brush(width: int = 20, edge: int = 1) -> Brush:
    return Brush(width, edge, BASE, "x", parse, [], Color.parse("#000000"), BASE, None)


def drawn(block: Block, y: int = 0, width: int = 20) -> list[tuple[str, object, object]]:
    block.fit(Space(width, 40, compact=False))
    return [
        (
            segment.text,
            segment.style and str(segment.style.color),
            segment.style and segment.style.meta,
        )
        for segment in block.strip(y, brush(width))
    ]


def test_a_row_fills_the_width_and_knows_which_characters_it_shows():
    block = Rows(Content("你 and b"), mark="  ")
    block.fit(Space(20, 40, compact=False))
    strip = block.strip(0, brush())
    assert strip.text == "   你 and b" + " " * 9
    assert strip.cell_length == 20
    [segment] = strip
    assert segment.style is not None
    assert segment.style.meta["offset"] == (-3, 3 * ROWS)


def test_neighbours_that_look_the_same_are_one_segment():
    red = Content.styled("red", "red")
    shown = drawn(Rows(red + Content(" ") + red + Content(" b") + Content("c")))
    assert [text for text, *_ in shown] == [" ", "red red", " bc" + " " * 9]
    lined = Content.styled("red", "underline") + Content(" ") + Content.styled("b", "underline")
    assert [text for text, *_ in drawn(Rows(lined))][:4] == [" ", "red", " ", "b"]
    filled = Content.styled("a", "on red") + Content("  ") + Content.styled("  ", "on red")
    assert [text for text, *_ in drawn(Rows(filled))][:4] == [" ", "a", "  ", "  "]


def test_a_row_that_looks_as_before_is_the_same_strip():
    one, two = Content("same"), Content("same")
    block = Rows(one)
    block.fit(Space(20, 40, compact=False))
    with_it = brush()
    strip = block.strip(0, with_it)
    block.parts = [Part("rows", [Row(two, 0)])]
    assert block.strip(0, with_it) is strip
    block.parts = [Part("rows", [Row(two.stylize("bold"), 0)])]
    assert block.strip(0, with_it) is not strip


def test_a_row_that_is_not_there_is_blank():
    block = Rows(Content("one"))
    block.fit(Space(20, 40, compact=False))
    assert block.strip(7, brush()).text == " " * 20
    assert block.lines() == ["one"]
