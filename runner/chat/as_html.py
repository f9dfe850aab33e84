"""A conversation as one HTML page that needs nothing else: pictures are in it. Pure.

Whatever the user and the model wrote is text: raw HTML is escaped, no script is in the page, and
its policy forbids the browser to run or to load anything.
"""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from runner.base.text import clean_name
from runner.chat.export import picture_label
from runner.chat.files.attached import AttachedFile, label
from runner.chat.sections import Section, sections_of
from runner.chat.steps import StepKind, ToolUse
from runner.chat.tools.shown import use_words
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Picture

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

# `default-src 'none'`: no script, no request to anywhere. Pictures are data URLs.
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE: Final = """
:root { color-scheme: light dark; --pale: color-mix(in srgb, currentColor 65%, transparent); }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.3rem; }
.question { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid #4a7fb5;
  padding: .6rem 1rem; margin: 2rem 0 1rem; background: rgb(74 127 181 / 10%); }
.answer { overflow-wrap: anywhere; }
.tool { overflow-wrap: anywhere; font-family: ui-monospace, monospace; font-size: .85rem;
  margin: .6rem 0 .3rem; }
details, .note { color: var(--pale); }
details div { white-space: pre-wrap; overflow-wrap: anywhere; font-style: italic; }
.file { white-space: normal; margin: 0 0 .6rem; }
figure { margin: 0 0 .6rem; }
figcaption { font-size: .85rem; }
img { max-width: 100%; height: auto; }
pre { overflow-x: auto; padding: .7rem 1rem; background: rgb(128 128 128 / 12%); }
table { border-collapse: collapse; }
th, td { padding: .2rem .7rem; border: 1px solid rgb(128 128 128 / 40%); }
"""


def to_html(turns: Sequence[Turn], title: str) -> str:
    """Return the conversation as a page; `title`: the model's name."""
    name = escape(clean_name(title))
    markdown = _markdown()
    body = "\n".join(_turn(turn, markdown) for turn in turns)
    return (
        '<!DOCTYPE html>\n<html>\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{name}</h1>\n{body}\n</body>\n</html>\n"
    )


def _markdown() -> "MarkdownIt":
    from markdown_it import MarkdownIt  # noqa: PLC0415 - the window is painted without it

    # A picture that an answer names lies on somebody's server: it becomes a link.
    return MarkdownIt("gfm-like", {"html": False}).disable("image")


def _turn(turn: Turn, markdown: "MarkdownIt") -> str:
    figures = "".join(_figure(number, each) for number, each in enumerate(turn.pictures, 1))
    files = "".join(_file(each) for each in turn.files if each.text)
    parts = [f'<div class="question">{figures}{files}{escape(turn.text)}</div>']
    for section in sections_of(turn.steps):
        parts += _section(section, markdown)
    if note := _note(turn):
        parts.append(f'<p class="note">{escape(note)}</p>')
    return "\n".join(parts)


def _section(section: Section, markdown: "MarkdownIt") -> list[str]:
    if section.kind is StepKind.CALL:
        return [_tool(use) for use in section.uses]
    text = section.text.strip()
    if section.kind is StepKind.THINKING:
        return [f"<details><summary>Thinking</summary><div>{escape(text)}</div></details>"]
    return [f'<div class="answer">{markdown.render(text)}</div>']


def _tool(use: ToolUse) -> str:
    words = f'<p class="tool">{escape(use_words(use))}</p>'
    if use.result is None:
        return words
    figures = "".join(_image(each, clean_name(each.name)) for each in use.result.pictures)
    text = f"<details><summary>Result</summary><div>{escape(use.result.text.strip())}</div>"
    return f"{words}{figures}{text}</details>"


def _figure(number: int, picture: Picture) -> str:
    return _image(picture, picture_label(number, picture, prices=False))


def _image(picture: Picture, shown: str) -> str:
    caption = escape(shown)
    size = f'width="{picture.width}" height="{picture.height}"'
    image = f'<img src="{escape(picture.data_url())}" alt="{caption}" {size}>'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _file(file: AttachedFile) -> str:
    summary = f"<summary>{escape(label(file))}</summary>"
    return f'<details class="file">{summary}<pre>{escape(file.text)}</pre></details>'


def _note(turn: Turn) -> str:
    if turn.phase is TurnState.STOPPED:
        return "stopped"
    return f"failed: {turn.error or turn.failed}" if turn.phase is TurnState.FAILED else ""
