"""A conversation as it is sent to the model. Pure."""

from collections.abc import Iterator, Sequence

from runner.chat.files.attached import sent_text
from runner.chat.steps import StepKind, rounds_of, uses_of, words
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Call, Message


def to_messages(turns: Sequence[Turn], system: str = "") -> list[Message]:
    """Return the conversation as it is sent, behind what the model is told before (`system`).

    A question that failed is left out: it may be what the server cannot take. So is a turn of
    which a part is lost: the rest alone would be a history that never was. One that was stopped
    before its answer is joined with the next: templates want the roles to alternate. Calls and
    their results stay in the conversation, so that its beginning is what the engine has read.
    """
    messages = [Message("system", system)] if system else []
    for turn in turns:
        last = turn is turns[-1]
        failed = turn.phase is TurnState.FAILED and not turn.answered
        if (failed or turn.broken) and not last:
            continue
        question = Message("user", sent_text(turn.files, turn.text), turn.pictures)
        if messages and messages[-1].role == "user":
            before = messages.pop()
            text = "\n\n".join(part for part in (before.text, question.text) if part)
            question = Message("user", text, (*before.pictures, *question.pictures))
        messages.append(question)
        messages += _answer(turn, asked=last)
    return messages


def _answer(turn: Turn, *, asked: bool) -> Iterator[Message]:
    """Yield an answer as it is sent: what was said, called and returned, round by round.

    A call that was not run is left out: servers want a result for each. `asked`: it is this turn
    that is answered, so that only rounds with results stand before what comes next, with their
    thinking: Step's template keeps that of messages behind the last question, and no other.
    """
    if turn.phase is TurnState.FAILED and not asked:  # what was returned may be why
        yield Message("assistant", turn.answer)
        return
    texts: list[str] = []
    for one in rounds_of(turn.steps):
        texts += [text] if (text := words(one, StepKind.TEXT)) else []
        uses = [use for use in uses_of(one) if use.result is not None]
        if not uses:
            continue
        thought = words(one, StepKind.THINKING) if asked else ""
        calls = tuple(Call(use.call.call, use.call.name, use.call.text) for use in uses)
        yield Message("assistant", "\n\n".join(texts), reasoning=thought, calls=calls)
        texts = []
        for use in uses:
            if use.result is not None:
                yield Message("tool", use.result.text, use.result.pictures, answers=use.result.call)
    text = "\n\n".join(texts)
    if text.strip() and not asked:
        yield Message("assistant", text)
