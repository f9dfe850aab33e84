"""Which tools a chat offers, and why not: the same in a window, in plain lines and with `-p`. Pure.

Tools stand at the top of the prompt: were they others in one of these, a chat that is resumed there
would be read again from its beginning.
"""

import re
from typing import Final, Protocol

from runner.base.text import clean, clean_name
from runner.chat.conversation import Conversation
from runner.chat.host import ChatSetup
from runner.chat.tools.pictures import TOOLS, PictureTools
from runner.chat.tools.toolboxes import Toolboxes
from runner.tui.settings import SettingsFile

SWITCH: Final = ("on", "off")
_LISTED: Final = 40  # tools
_ABOUT: Final = 100  # characters


class OffersTools(Protocol):
    """What of a chat decides which tools it offers."""

    @property
    def settings(self) -> SettingsFile:
        """What is remembered."""

    @property
    def setup(self) -> ChatSetup:
        """What the chat talks to."""

    @property
    def conversation(self) -> Conversation:
        """What was said so far."""

    @property
    def tools(self) -> Toolboxes:
        """All tools."""


def picture_tools(chat: OffersTools) -> PictureTools:
    """Return the image tools of a chat, which are offered while they are `wanted`."""
    return PictureTools(lambda: wanted(chat))


def switched_on(chat: OffersTools) -> bool:
    """Whether the image tools are switched on: by the user, or else by the model's default."""
    chosen = chat.settings.now.tools
    return chosen == "on" if chosen else chat.setup.picture_tools


def wanted(chat: OffersTools) -> bool:
    """Whether the image tools are offered: from the first question on that has an image.

    Tools stand at the top of the prompt, and what is changed there makes the engine read all of
    it again. An image mostly comes with the first question, so that nothing has been read by
    then; a chat without one never pays for the tools. Once there is one they stay to the end,
    in a resumed chat, too: it is the same conversation that decides.
    """
    turns = chat.conversation.turns
    return switched_on(chat) and chat.setup.sees and any(turn.pictures for turn in turns)


def tool_lines(chat: OffersTools) -> list[tuple[str, str]]:
    """Return the tools that are offered: the name of each, and what else its line says."""
    offered = chat.tools.tools
    lines = []
    for tool in offered[:_LISTED]:
        source = f" ({clean_name(tool.source)})" if tool.source else ""
        lines.append((tool.name, f"{source}  {_beginning(tool.description)}"))
    if (more := len(offered) - _LISTED) > 0:
        lines.append((f"and {more:,} more", ""))
    return lines or [("none", "")]


def why_not(chat: OffersTools) -> str:
    """Return why the image tools are not offered; where they are, how to switch them off."""
    names = " and ".join(tool.name for tool in TOOLS)
    if chat.tools.refused:
        return "This server takes no tools. Ask it again: /tools on"
    if not chat.setup.sees:
        return f"{names} need a model with a vision encoder."
    if not switched_on(chat):
        return f"{names} are switched off. Switch them on: /tools on"
    if not wanted(chat):
        return f"{names} are offered from the first message on that has an image."
    return "Switch zoom and mark off: /tools off"


def _beginning(description: str) -> str:
    """Return the first sentence of what is written for the model, as far as a line has room."""
    words = clean(description[:1000]).strip()
    first = re.split(r"(?<=[.:])\s", words, maxsplit=1)[0].rstrip(".:")
    return first if len(first) <= _ABOUT else f"{first[:_ABOUT].rstrip()}…"
