"""How a chat stands at this moment, in the words of its status line and of its errors."""

import time
from typing import TYPE_CHECKING

from runner.base.units import duration
from runner.chat.turn import TurnState
from runner.tui.figure_rows import memory_text
from runner.tui.status import ChatStatus, host_states, turn_states

if TYPE_CHECKING:
    from runner.tui.talking import ChatTalk


def chat_status(chat: "ChatTalk") -> ChatStatus:
    """Return what the status line shows."""
    turns = chat.conversation.turns
    newest = turns[-1] if turns else None
    state, *shorter = states(chat)
    return ChatStatus(
        chat.setup.title,
        state,
        newest.rate() if newest is not None else 0.0,
        chat.conversation.context_used(),
        chat.setup.context,
        chat.options.effort or "",
        tuple(shorter),
        memory_text(chat.figures),
    )


def states(chat: "ChatTalk") -> tuple[str, ...]:
    """Return what goes on, and the same in ever fewer words."""
    now, own, live = time.monotonic(), chat.setup.own, chat.live
    if chat.leaving:
        return ("stopping the engine" if own else "leaving",)
    waits = live is None or live.phase is TurnState.PREFILL
    if chat.host_task.loading and waits:
        task = chat.host_task
        return host_states(now - task.loading_since, task.loaded(), own=own)
    if live is not None and chat.waits_for:
        waited = duration(chat.clock.waited_s(now))
        return f"waiting for {chat.waits_for} … {waited}", f"waiting for tools … {waited}"
    if live is not None:
        return turn_states(live, chat.clock, now, own=own)
    if chat.loading_pictures:
        return ("loading image",)
    if chat.host_task.alive():
        return ("ready",)
    return ("no engine" if own else "no server",)


def retries(chat: "ChatTalk") -> str:
    """Return what /retry does first where there is no host."""
    own = chat.setup.own
    if chat.host_task.loading:
        return "waits for the engine, which is started again," if own else "waits for the server"
    return "starts the engine again" if own else "looks for the server again"
