"""Sessions: a new chat in the same window."""

from runner.tui.actions import Action
from runner.tui.wings.wing import Wing


class Sessions(Wing):
    """Moves from one saved chat to another."""

    title = "Chats"

    async def start_new(self, _: str) -> None:
        """Start a new chat; the previous one can be resumed."""
        chat = self.chat
        if chat.busy:
            chat.hint("Still answering: Esc stops it.")
            return
        old = chat.conversation.session.id if chat.conversation.saved else ""
        chat.conversation.start_new()
        chat.transcript.notice(None)
        await chat.transcript.show_turns(chat.conversation.turns, opened=False)
        chat.hint(f"New chat. The previous one: --resume {old}" if old else "New chat.")

    actions = (Action("chat.new", "start a new chat", start_new, command="new"),)
