"""LaTeX in answers."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.tui.formula import readable
from runner.tui.render import markdown_lines


def shown(text: str) -> str:
    return "\n".join(line.plain.rstrip() for line in markdown_lines(text, 80))


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"x^2 + y_1 = \frac{a+b}{2c}", "x² + y₁ = (a+b)/2c"),
        (r"\sum_{i=1}^{n} x_i \le 1", "∑ᵢ₌₁ⁿ xᵢ ≤ 1"),
        (r"e^{-x^{2}}", "e^(-x²)"),
        (r"a^{\frac{1}{2}}", "a^(1/2)"),
        (r"\dfrac{1}{2} \in \mathbb{R}^n", "1/2 ∈ ℝⁿ"),
        (r"\begin{aligned} f &= x \\ &= 2 \end{aligned}", "f = x\n= 2"),
        (r"\lVert x \rVert_2", "‖ x ‖₂"),
        (r"\unheard x", r"\unheard x"),
        ("{" * 500, "{" * 500),
        (r"\frac", r"\frac"),
    ],
)
def test_a_formula_is_readable(latex, text):
    assert readable(latex) == text


@pytest.mark.parametrize("text", [r"a \(x^2\) b", r"a \[x^2\] b", "a $x^2$ b", "a $$x^2$$ b"])
def test_formulas_stand_in_the_text(text):
    assert shown(text) == "a x² b"


def test_money_code_and_what_is_not_closed_are_no_formulas():
    for text in (
        "It costs $5 and $6.",
        "US$100 or US$200",
        r"`\(x^2\)` or",
        "$x^2 is open",
        "$HOME and $PATH",
    ):
        assert shown(text) == text.replace("`", "")


def test_no_file_is_read(tmp_path):
    file = tmp_path / "secret.tex"
    file.write_text("secret")
    assert "secret" not in readable(rf"\input{{{file.with_suffix('')}}}").replace(
        str(tmp_path / "secret"), ""
    )


@given(
    st.lists(
        st.sampled_from(
            [
                "{",
                "}",
                "^",
                "_",
                "\\frac",
                "x",
                "\\\\",
                "&",
                " ",
                "\\begin{cases}",
                "\\left(",
                "$",
                "%",
                "[",
                "\x1b",
            ]
        ),
        max_size=40,
    )
)
def test_no_formula_ends_the_chat(parts):
    assert isinstance(readable("".join(parts)), str)


def test_formulas_take_bounded_time():
    began = time.thread_time()
    shown("$" * 3000 + r"\(" * 3000 + "$a" * 3000)
    assert time.thread_time() - began < 5
