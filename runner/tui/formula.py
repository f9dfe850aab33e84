"""LaTeX formulas in Markdown, as text that a terminal can show."""

import re
from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

from runner.base.text import clean

CHARS = 2000  # a longer one is shown as it was written
DEPTH = 40  # of braces; deeper ones, too: the parser calls itself for each

# A dollar that a blank follows, or whose partner a digit follows, is money.
_FORMULA = re.compile(
    r"\\\((?P<round>.+?)\\\)|\\\[(?P<square>.+?)\\\]|\$\$(?P<double>.+?)\$\$"
    r"|\$(?![\s$])(?P<single>[^$\n]*?[^\s$\\])\$(?![\d$])",
    re.DOTALL,
)
_RELATION = re.compile("[ ]*([=<>≤≥≠≈≡∼∝∈∉⊂⊆→←⇒⇔×·±∪∩])[ ]*")  # noqa: RUF001 - signs
_SCRIPT = re.compile(r"([_^])(?:\{((?:[^{}]|\{[^{}]*\})*)\}|([A-Za-z0-9+*]))")
_FRACTION = re.compile(r"\\[dtc]frac\b")
# What the library does not know, and would leave out.
_BARE = (
    "left",
    "right",
    "big",
    "Big",
    "bigl",
    "bigr",
    "boxed",
    "displaystyle",
    "limits",
    "operatorname",
)
_UNKNOWN = {**dict.fromkeys(_BARE, ""), "lVert": "‖", "rVert": "‖", "lvert": "|", "rvert": "|"}
_PLAIN = "0123456789+-=()"
# What stands for a mark that was read already, so that it is not read again.
_MARKS = str.maketrans("\N{FULLWIDTH CIRCUMFLEX ACCENT}\N{FULLWIDTH LOW LINE}", "^_")
_RAISED = str.maketrans(
    f"{_PLAIN}niTabcdefghjklmoprstuvwxyz", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱᵀᵃᵇᶜᵈᵉᶠᵍʰʲᵏˡᵐᵒᵖʳˢᵗᵘᵛʷˣʸᶻ"
)
_LOWERED = str.maketrans(f"{_PLAIN}aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")


def add_formulas(parser: MarkdownIt) -> MarkdownIt:
    """Make a parser know formulas; their tokens hold the LaTeX between the marks."""
    parser.inline.ruler.before("escape", "formula", _rule)
    return parser


def _rule(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - the parser's interface
    if state.src[state.pos] not in "\\$":
        return False
    found = _FORMULA.match(state.src, state.pos, min(state.posMax, state.pos + CHARS))
    if found is None:
        return False
    if not silent:
        token = state.push("formula", "", 0)
        token.content, token.markup = found[found.lastgroup or 0], found[0]
    state.pos = found.end()
    return True


@lru_cache(maxsize=256)
def readable(latex: str) -> str:
    """Return a formula in letters and signs; what cannot be read stays as it was written."""
    if _depth(latex) > DEPTH:
        return latex
    try:
        text = _translator().latex_to_text(_scripts(_FRACTION.sub(r"\\frac", latex)))
    except (ValueError, RecursionError, AttributeError, IndexError, TypeError):
        return latex
    text = _RELATION.sub(r" \1 ", clean(text).translate(_MARKS))
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line) or latex


def _scripts(latex: str) -> str:
    """Raise and lower what there are signs for, the innermost first; put the rest in brackets."""
    for _ in range(DEPTH):
        latex, count = _SCRIPT.subn(_script, latex)
        if not count:
            break
    return latex


def _script(found: re.Match[str]) -> str:
    mark, content = found[1], (found[2] if found[2] is not None else found[3]).strip()
    changed = content.translate(_RAISED if mark == "^" else _LOWERED)
    if content and not set(changed) & set(content):
        return f"{{}}{changed}"  # apart from a macro's name
    return ("\N{FULLWIDTH CIRCUMFLEX ACCENT}" if mark == "^" else "\N{FULLWIDTH LOW LINE}") + (
        content if len(content) == 1 else f"({content})"
    )


def _depth(latex: str) -> int:
    deepest = depth = 0
    for character in latex:
        depth += (character == "{") - (character == "}")
        deepest = max(deepest, depth)
    return deepest


@lru_cache(maxsize=1)
def _translator() -> Any:
    from pylatexenc import latex2text  # noqa: PLC0415 - few answers have formulas

    def fraction(node: Any, l2tobj: Any) -> str:  # named so by the library
        over, under = (l2tobj.nodelist_to_text([part]) for part in node.nodeargd.argnlist[-2:])
        return f"{_grouped(over)}/{_grouped(under)}"

    def unknown(node: Any) -> str:
        return _UNKNOWN.get(node.macroname, f"\\{node.macroname} ")

    known = latex2text.get_default_latex_context_db()
    macro = latex2text.MacroTextSpec("frac", simplify_repl=fraction)
    known.add_context_category("steprun", prepend=True, macros=[macro])
    known.set_unknown_macro_spec(latex2text.MacroTextSpec("", simplify_repl=unknown))
    return latex2text.LatexNodes2Text(
        latex_context=known, math_mode="text", strict_latex_spaces="based-on-source"
    )


def _grouped(text: str) -> str:
    text = text.strip()
    return text if text.isalnum() or len(text) < 2 else f"({text})"
