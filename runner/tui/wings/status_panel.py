"""Status: all that is known of the server, of the last answer and of the memory, in one panel."""

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Final

from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from runner.chat.host_task import HostReady
from runner.tui.figure_rows import Group, answer_rows, memory_rows, server_rows, setting_rows
from runner.tui.help import HelpScreen
from runner.tui.panel import panel_content
from runner.tui.shared import STATUS
from runner.tui.standing import states
from runner.tui.talking import ChatTalk
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.tui.app import ChatApp

OPEN_S: Final = 2.0  # between two questions to the server while the panel is open
ALONE_S: Final = 20.0  # and for the status line alone


class StatusScreen(HelpScreen):
    """Shows the panel, as it is now, until a key closes it."""

    def __init__(self, wing: "StatusPanel") -> None:
        super().__init__(())
        self._wing = wing

    def on_mount(self) -> None:
        """Keep it up to date."""
        self.set_interval(0.5, self.again)
        self.set_interval(OPEN_S, self._wing.ask)

    def again(self) -> None:
        """Show it as it is now."""
        self.query_one("#help Static", Static).update(self.content())

    def content(self) -> Content:
        """Return the panel."""
        return self._wing.content(self.app.size.width)


class StatusPanel(Wing):
    """Asks our own server what it is doing, and shows it with all else that is known."""

    title = "Status"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._asking = False

    def started(self) -> None:
        """Ask now and then, for the status line."""
        self.chat.set_interval(ALONE_S, self.ask)

    def show(self, _: str) -> None:
        """Open the panel."""
        self.ask()
        screen = StatusScreen(self)
        screen.set_class(self.chat.screen.has_class("-compact"), "-compact")
        self.chat.push_screen(screen)

    def ask(self) -> None:
        """Ask a server of steprun, beside all else, unless it is being asked."""
        chat, setup = self.chat, self.chat.setup
        if chat.host_task.host is None or not (setup.own or setup.gateway):
            return
        if not self._asking and not chat.leaving:
            self._asking = True
            chat.run_worker(self._ask(), group="figures", exit_on_error=False)

    async def _ask(self) -> None:
        chat, host = self.chat, self.chat.host_task.host
        try:
            module = await asyncio.to_thread(import_module, "runner.chat.figures")
            chat.figures = await module.ask_figures(host.endpoint) if host is not None else None
        finally:
            self._asking = False
        chat.show_status()

    def host_changed(self, message: ChatTalk.HostChanged) -> None:
        """Ask a server that has just come to answer; forget one that does not."""
        if isinstance(message.event, HostReady):
            self.ask()
        else:
            self.chat.figures = None

    def ended(self, _: ChatTalk.Ended) -> None:
        """Ask again: an answer changes what the engine holds."""
        self.ask()

    def content(self, width: int) -> Content:
        """Return the panel for a screen of `width` cells."""
        chat, figures = self.chat, self.chat.figures
        conversation, options = chat.conversation, chat.options
        used, turns = conversation.context_used(), conversation.turns
        limited = bool(options.dialect.thinking_cap)
        state = states(chat)[0]
        whose = "Engine" if chat.setup.own else "Server"
        groups: list[Group] = [
            (whose, server_rows(state, figures, used, chat.setup.context)),
            ("Memory", memory_rows(figures) if figures is not None else []),
            ("Last answer", answer_rows(turns[-1]) if turns else []),
            ("Settings", setting_rows(options, conversation.chosen, limited=limited)),
            ("Chat", [("ID", conversation.session.id)] if conversation.saved else []),
        ]
        return panel_content(chat.setup.title, groups, width)

    actions = (STATUS.by(show),)
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        ChatTalk.HostChanged: host_changed,
        ChatTalk.Ended: ended,
    }
