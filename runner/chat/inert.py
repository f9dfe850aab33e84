"""Texts of others, of which no part is more than text to the model. Pure.

These are files, what tools return, and of an imported chat, which may be anybody's, the questions,
files and results. Two texts are left as they are. What the user types or pastes is their own word,
and may be about these very tokens. An imported answer is what a model wrote, and its code is copied
from there: nothing that is not seen may be in it. A text without such a token stays the same, byte
for byte, so that an imported chat of one's own begins with what the engine has read already.
"""

import re
from typing import Final

from runner.base.text import clean

# What is a token of its own to an engine wherever it stands in a prompt: with these, a web page or
# a file could end its message and speak as the user. Step's tokens for the beginning and the end of
# a text have bars of full width.
_CONTROL: Final = re.compile(
    r"<(?=[|\N{FULLWIDTH VERTICAL LINE}][^|\N{FULLWIDTH VERTICAL LINE}<>\s]{1,40}"
    r"[|\N{FULLWIDTH VERTICAL LINE}]>"
    r"|/?(?:think|tool_call|tool_response|im_start|im_end|im_patch|patch_\w{1,20})>)"
)
_BROKEN: Final = "<\u200b"  # a zero-width space makes a text of it


def inert(text: str) -> str:
    """Return a text that looks the same, without a control token in it."""
    return _CONTROL.sub(_BROKEN, text) if "<" in text else text


def from_others(text: str) -> str:
    """Return a text of a file that anybody may have made: what a terminal obeys is gone, too."""
    return inert(clean(text))
