"""Tools: what the model may call during an answer, and the image tools' switch, remembered."""

import re
from collections.abc import Mapping
from typing import ClassVar, Final

from textual.content import Content
from textual.message import Message

from runner.base.errors import UsageError
from runner.base.text import clean, clean_name
from runner.chat.host_task import HostKnown
from runner.chat.tools.pictures import TOOLS, PictureTools
from runner.tui.actions import Action
from runner.tui.costs import reading_again
from runner.tui.talking import ChatTalk
from runner.tui.wings.wing import Hear, Wing

SWITCH: Final = ("on", "off")
_LISTED: Final = 40  # tools
_ABOUT: Final = 100  # characters


class ToolWing(Wing):
    """Offers the image tools, and lists all that are offered."""

    title = "Tools"
    _noted = False

    def started(self) -> None:
        """Offer the image tools from now on, where they are wanted."""
        self.chat.tools.add(PictureTools(self._wanted))

    @property
    def on(self) -> bool:
        """Whether the image tools are switched on: by the user, or else by the model's default."""
        chosen = self.chat.settings.now.tools
        return chosen == "on" if chosen else self.chat.setup.picture_tools

    def _wanted(self) -> bool:
        """Whether the image tools are offered: from the first question on that has an image.

        Tools stand at the top of the prompt, and what is changed there makes the engine read all of
        it again. An image mostly comes with the first question, so that nothing has been read by
        then; a chat without one never pays for the tools. Once there is one they stay to the end,
        in a resumed chat, too: it is the same conversation that decides.
        """
        turns = self.chat.conversation.turns
        return self.on and self.chat.setup.sees and any(turn.pictures for turn in turns)

    def switch(self, typed: str) -> None:
        """List what is offered, or switch the image tools on or off."""
        chosen = typed.lower()
        if chosen not in {"", *SWITCH}:
            self.chat.composer.give_back(f"/tools {typed}", ())
            why = f"{clean_name(typed, 40)!r} is neither on nor off."
            self.chat.problem(UsageError(why, next="/tools off"))
            return
        if chosen:
            before = self.chat.tools.tools
            self.chat.remember(tools=chosen)
            self.chat.tools.refused = self._noted = False  # the server is asked again
            if self.chat.tools.tools != before:  # they stand at the top of the prompt
                self.chat.hint(f"The image tools are {chosen}.{reading_again(self.chat)}")
        self.chat.transcript.notice(self._list())
        self.chat.transcript.follow()

    def _list(self) -> Content:
        """Return what is offered, a line for each tool, and why what is not is not."""
        offered = self.chat.tools.tools
        lines = [Content.styled("Tools that the model may call", "bold")]
        for tool in offered[:_LISTED]:
            source = f" ({clean_name(tool.source)})" if tool.source else ""
            about = f"{source}  {_beginning(tool.description)}"
            lines.append(Content.assemble(tool.name, (about, "$foreground-muted")))
        if (more := len(offered) - _LISTED) > 0:
            lines.append(Content(f"and {more:,} more"))
        if not offered:
            lines.append(Content("none"))
        if why := self._why_not():
            lines.append(Content.styled(why, "$foreground-muted"))
        return Content("\n").join(lines)

    def _why_not(self) -> str:
        """Return why the image tools are not offered, empty where they are."""
        names = " and ".join(tool.name for tool in TOOLS)
        if self.chat.tools.refused:
            return "This server takes no tools. Ask it again: /tools on"
        if not self.chat.setup.sees:
            return f"{names} need a model with a vision encoder."
        if not self.on:
            return f"{names} are switched off. Switch them on: /tools on"
        if not self._wanted():
            return f"{names} are offered from the first message on that has an image."
        return "Switch zoom and mark off: /tools off"

    def ended(self, _: ChatTalk.Ended) -> None:
        """Say once that the server takes no tools."""
        if self.chat.tools.refused and not self._noted:
            self._noted = True
            self.chat.hint("This server takes no tools, so none are offered.")

    def host_changed(self, message: ChatTalk.HostChanged) -> None:
        """Offer tools again where the server is another one: it may take them."""
        if isinstance(message.event, HostKnown):
            self.chat.tools.refused = self._noted = False

    actions = (
        Action(
            "tools.switch",
            "list what the model may call; switch zoom and mark, which look closer at images, "
            "on or off",
            switch,
            *("tools", "[on|off]"),
        ),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        ChatTalk.Ended: ended,
        ChatTalk.HostChanged: host_changed,
    }


def _beginning(description: str) -> str:
    """Return the first sentence of what is written for the model, as far as a line has room."""
    words = clean(description[:1000]).strip()
    first = re.split(r"(?<=[.:])\s", words, maxsplit=1)[0].rstrip(".:")
    return first if len(first) <= _ABOUT else f"{first[:_ABOUT].rstrip()}…"
