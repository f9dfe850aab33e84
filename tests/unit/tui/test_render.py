"""Markdown in lines of text."""

from hypothesis import example, given
from hypothesis import strategies as st

from runner.tui.code import painted
from runner.tui.render import markdown_lines
from runner.tui.rows import MEASURE


def lines_of(text: str, width: int = 40) -> list[str]:
    return [line.plain.rstrip() for line in markdown_lines(text, width)]


def test_markdown_becomes_lines():
    assert lines_of("# A\n\nb **c** `d`\n\n- e\n- f\n\n3. g\n4. h\n\n> i\n\n---") == [
        *("A", "", "b c d", "", "• e", "• f", "", " 3. g", " 4. h", "", "▌ i", "", "─" * 40),
    ]


def test_what_wraps_stays_clear_of_its_mark():
    assert lines_of("- one two three\n  - four five", 10) == [
        *("• one two", "  three", "  • four", "    five"),
    ]


def test_code_is_kept_as_it_is():
    text = "```python\ndef f():\n\treturn '[red]x[/red]'\n\n# end\n```"
    head = "python" + " " * 30 + "copy"
    assert lines_of(text) == [head, "def f():", "    return '[red]x[/red]'", "", "# end"]
    assert lines_of("```\nabcdefgh\n```", 5) == [" copy", "abcde", "fgh"]


def test_colours_of_code_go_on_over_many_lines():
    code = [
        f'x{n} = """a' if n % 40 == 9 else f'b{n}"""' if n % 40 == 20 else "y" for n in range(99)
    ]
    whole = [line for group, _ in painted(code, "python", 1000) for line in group]
    pieces = [line for group, _ in painted(code, "python", 16) for line in group]
    assert [line.plain for line in pieces] == code
    assert [line.spans for line in pieces] == [line.spans for line in whole]


def test_a_table_fits_or_becomes_a_list():
    text = "| name | hex |\n|---|---|\n| red | a longer cell |"
    assert lines_of(text, 20) == [
        "name  hex",
        "────  ─────────────",
        "red   a longer cell",
    ]
    assert max(len(line) for line in lines_of(text, 13)) <= 13
    assert lines_of(text, 6)[0] == "name:"


def test_columns_stand_as_their_head_says():
    text = "| a | b | c |\n|:-:|--:|---|\n| one | 1 | x |\n| three | 1000 | y |"
    assert lines_of(text) == [
        "  a       b  c",
        "─────  ────  ─",
        " one      1  x",
        "three  1000  y",
    ]


def test_prose_is_no_wider_than_one_reads():
    prose = "words " * 60
    code = "```\n" + "x" * 150 + "\n```"
    lines = markdown_lines(f"{prose}\n\n{code}", 200)
    assert max(line.cell_length for line in lines if "words" in line.plain) <= MEASURE
    assert "x" * 150 in [line.plain.rstrip() for line in lines]


def test_blank_lines_stand_where_they_were_written():
    text = "# A\nb\n- c\n- d\n\n- e\n\n\n\nf"
    assert lines_of(text) == ["A", "b", "• c", "• d", "", "• e", "", "f"]


def test_links_say_where_they_lead():
    assert lines_of("[here](http://evil.example) http://a.example") == [
        "here (http://evil.example)",
        "http://a.example",
    ]


def test_markup_of_ours_and_html_are_text():
    assert lines_of("[red]no[/red] <b>bold</b>\n\n<script>x</script>", 60) == [
        "[red]no[/red] <b>bold</b>",
        "",
        "<script>x</script>",
    ]


MARKDOWN = st.lists(
    st.sampled_from(
        [*"#*_`>|-1.[]()!~ \n", "\n\n", "```", "abc", "    ", "|-|", "1.", "é", "你", "<b>"]
    ),
    max_size=60,
).map("".join)


@given(MARKDOWN, st.integers(2, 60))
@example("1.", 2)
def test_no_markdown_breaks_the_width(text, width):
    assert all(line.cell_length <= width for line in markdown_lines(text, width))
