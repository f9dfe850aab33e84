"""What is said of a chat after its end."""

from collections.abc import Sequence

from runner.base.shell import as_typed, shell_line
from runner.chat.conversation import Conversation


def resume_command(chat: Conversation, words: Sequence[str]) -> str:
    """Return the command that resumes a chat; `words`: the options that name the model."""
    return f"{shell_line(('steprun', 'chat', *words))} --resume {chat.session.id}"


def farewell(chat: Conversation, words: Sequence[str]) -> tuple[str, ...]:
    """Return what to print after a chat: where the unsent text is, how to resume."""
    lines = []
    if chat.draft_path is not None:
        lines.append(f"Your unsent text is saved in {chat.draft_path}")
    if chat.trouble is not None:
        lines.append(f"This chat is not saved whole. {as_typed(str(chat.trouble))}")
    if chat.saved:
        lines.append(f"Resume with: {resume_command(chat, words)}")
    return tuple(lines)
