"""Markdown in lines of text."""

from hypothesis import example, given
from hypothesis import strategies as st

from runner.tui.render import markdown_lines, settled


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
    assert lines_of(text) == ["def f():", "    return '[red]x[/red]'", "", "# end"]
    assert lines_of("```\nabcdefgh\n```", 5) == ["abcde", "fgh"]


def test_a_table_fits_or_becomes_a_list():
    text = "| name | hex |\n|---|---|\n| red | a longer cell |"
    assert lines_of(text, 20) == [
        "name  hex",
        "────  ─────────────",
        "red   a longer cell",
    ]
    assert max(len(line) for line in lines_of(text, 13)) <= 13
    assert lines_of(text, 6)[0] == "name:"


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


@given(MARKDOWN, MARKDOWN)
@example("#*\n#", "*")  # "#" alone is a heading, "#*" continues the paragraph before it
@example("#######\n\n#######\n#", "*")
def test_what_is_settled_stays(text, more):
    """The lines of the settled part, laid out alone, begin the lines of the whole answer."""
    done = [line.plain for line in markdown_lines(text[: settled(text)], 40)]
    assert [line.plain for line in markdown_lines(text + more, 40)][: len(done)] == done


def test_two_blocks_stay_live():
    assert settled("one\n\ntwo") == 0
    assert settled("one\n\ntwo\n\nthree") == len("one\n\n")
