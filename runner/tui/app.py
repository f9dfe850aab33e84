"""The chat as the user drives it: its wings, and one registry of what they can do."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from textual import on
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from runner.base.errors import UsageError
from runner.chat.host import ChatSetup
from runner.chat.sessions.saved import SavedChats
from runner.chat.turn import Turn
from runner.tui.actions import Action, ActionGroup, by_command
from runner.tui.background import Background, ask_terminal
from runner.tui.settings import SettingsFile, as_remembered, write_quietly
from runner.tui.talking import ChatTalk
from runner.tui.thumbnails import Thumbnails
from runner.tui.wings import GROUPS, WINGS
from runner.tui.wings.wing import Wing

if TYPE_CHECKING:
    from textual.command import Provider


def _palette() -> "type[Provider]":
    from runner.tui.palette import ActionPalette  # noqa: PLC0415 - not before it is opened

    return ActionPalette


SomeWing = TypeVar("SomeWing", bound=Wing)


class ChatApp(ChatTalk):
    """The chat. `ChatApp(setup).run()`; then `return_code`, `failure` and `farewell`.

    It runs the actions of its wings and hands them messages; what the chat can do is theirs.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            ",".join(action.keys),
            f"perform('{action.id}')",
            action.sentence,
            id=action.id,
            priority=action.priority,
        )
        for group in GROUPS
        for action in group.actions
        if action.keys and action.run
    ]
    COMMANDS: ClassVar["set[type[Provider] | Callable[[], type[Provider]]]"] = {_palette}
    groups: ClassVar[tuple[ActionGroup, ...]] = GROUPS
    commands: ClassVar[Mapping[str, Action]] = by_command(GROUPS)
    _cannot_remember = False
    thumbnails: Thumbnails

    def __init__(self, setup: ChatSetup) -> None:
        self.settings = SettingsFile()
        self.background = Background()
        self.shelf = SavedChats()
        super().__init__(as_remembered(setup, self.settings.now))
        if self.settings.now.thinking == "closed" and not setup.show_thinking:
            self.thinking = "closed"
        elif self.settings.now.thinking == "open":
            self.thinking = "open"
        self.conversation.warnings += filter(None, [self.settings.warning])
        self._wings: dict[type[Wing], Wing] = {kind: kind(self) for kind in WINGS}
        self._owners = {
            action.id: (action, wing) for wing in self._wings.values() for action in wing.actions
        }

    def know(self, setup: ChatSetup) -> None:
        """Show what the host has turned out to be; it may be one that takes the effort."""
        super().know(setup)
        known = as_remembered(setup, self.settings.now).options
        if not self.options.effort:
            self.options = replace(self.options, effort=known.effort)
        if self.options.thinking_cap is None:
            self.options = replace(self.options, thinking_cap=known.thinking_cap)

    def version(self, turn: Turn) -> tuple[int, int]:
        """Return which version of a turn it is, from 1, and how many there are."""
        # A turn that was never asked has no place in the tree yet.
        return self.conversation.siblings(turn) if turn.asked_id or turn.answer_id else (1, 1)

    def wing(self, kind: type[SomeWing]) -> SomeWing:
        """Return the wing of a kind."""
        wing = self._wings[kind]
        assert isinstance(wing, kind)  # noqa: S101 - it was made so
        return wing

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Run the chat in this terminal. Blocks."""
        self.background = ask_terminal()
        super().run(*args, **kwargs)

    def remember(self, **choices: str) -> None:
        """Remember choices (fields of `ChatSettings`) for this run and the next ones."""
        if self.settings.choose(**choices):
            self.run_worker(self._write_settings(), group="settings", exit_on_error=False)

    async def _write_settings(self) -> None:
        error = await asyncio.to_thread(write_quietly, self.settings)
        if error is not None and not self._cannot_remember:
            self._cannot_remember = True
            self.problem(error)

    def panels(self) -> Iterable[Widget]:
        """Return what the wings show above the composer."""
        for wing in self._wings.values():
            yield from wing.panels()

    async def on_mount(self) -> None:
        """Let the wings begin. The rest is `ChatTalk`'s."""
        self.composer.insert(self.background.typed)
        for wing in self._wings.values():
            wing.started()

    @on(Message)
    async def _heard(self, message: Message) -> None:
        """Hand a message to the wings that want it."""
        for wing in self._wings.values():
            if (hear := wing.hears.get(type(message))) is not None:
                await _finished(hear(wing, message))

    # --- actions (see actions.py) ------------------------------------------------------------

    def run_command(self, action: Action, args: str) -> None:
        """Run an action by its command."""
        if action.needs_args and not args:
            self.composer.give_back(f"/{action.command} ", ())
            self.problem(UsageError(f"Type {action.usage}.", why=f"{action.sentence}."))
        else:
            self.call_later(self._run, action.id, args)

    async def action_perform(self, action_id: str) -> None:
        """Run an action by its key."""
        await self._run(action_id, "")

    async def _run(self, action_id: str, args: str) -> None:
        action, wing = self._owners[action_id]
        if action.run is not None:
            await _finished(action.run(wing, args))

    def action_command_palette(self) -> None:
        """Open the palette."""
        from runner.tui.palette import Palette  # noqa: PLC0415 - as above

        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Put the actions on the palette."""
        del screen
        for action, _ in self._owners.values():
            if action.run is not None:
                keys = f" · {action.keys_text}" if action.keys else ""
                title = f"/{action.command}" if action.command else action.sentence
                help_text = f"{action.sentence}{keys}" if action.command else action.keys_text
                yield SystemCommand(title, help_text, partial(self._choose, action))

    def _choose(self, action: Action) -> None:
        if action.needs_args:  # the user types the rest
            self.composer.insert(f"/{action.command} ")
            self.composer.prompt.focus()
        else:
            self.call_later(self._run, action.id, "")


async def _finished(outcome: Awaitable[None] | None) -> None:
    if isawaitable(outcome):
        await outcome
