"""Tools: what the model may call during an answer, and the image tools' switch, remembered."""

from collections.abc import Mapping
from typing import ClassVar

from textual.content import Content
from textual.message import Message

from runner.base.errors import UsageError
from runner.base.text import clean_name
from runner.chat.host_task import HostKnown
from runner.tui.costs import reading_again
from runner.tui.offered import SWITCH, picture_tools, tool_lines, why_not
from runner.tui.shared import TOOLS
from runner.tui.talking import ChatTalk
from runner.tui.wings.wing import Hear, Wing


class ToolWing(Wing):
    """Offers the image tools, and lists all that are offered."""

    title = "Tools"
    _noted = False

    def started(self) -> None:
        """Offer the image tools from now on, where they are wanted."""
        self.chat.tools.add(picture_tools(self.chat))

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
        lines = [Content.styled("Tools that the model may call", "bold")]
        for name, about in tool_lines(self.chat):
            lines.append(Content.assemble(name, (about, "$foreground-muted")))
        lines.append(Content.styled(why_not(self.chat), "$foreground-muted"))
        return Content("\n").join(lines)

    def ended(self, _: ChatTalk.Ended) -> None:
        """Say once that the server takes no tools."""
        if self.chat.tools.refused and not self._noted:
            self._noted = True
            self.chat.hint("This server takes no tools, so none are offered.")

    def host_changed(self, message: ChatTalk.HostChanged) -> None:
        """Offer tools again where the server is another one: it may take them."""
        if isinstance(message.event, HostKnown):
            self.chat.tools.refused = self._noted = False

    actions = (TOOLS.by(switch),)
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        ChatTalk.Ended: ended,
        ChatTalk.HostChanged: host_changed,
    }
