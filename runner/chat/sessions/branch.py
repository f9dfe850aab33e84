"""The current branch of a saved chat as turns, and a turn as what is saved of it. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from runner.base.text import clean, clean_name
from runner.chat.sessions.entries import SessionEntry, answered
from runner.chat.sessions.tree import ChatTree
from runner.chat.steps import TurnStep
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Message

LOST_QUESTION = "(The question is lost: its line in the chat's file cannot be read.)"

Made = Callable[[SessionEntry | None, SessionEntry | None], Turn]


def question_of(turn: Turn, parents: tuple[str, ...]) -> SessionEntry:
    """Return a turn's question as it is saved."""
    return SessionEntry(
        Message("user", turn.text, turn.pictures),
        id=turn.asked_id,
        parents=parents,
        files=turn.files,
    )


def answer_of(turn: Turn, parents: tuple[str, ...]) -> SessionEntry:
    """Return a turn's answer as it is saved."""
    return answered(
        turn.steps,
        stopped=turn.phase is TurnState.STOPPED,
        cut=turn.phase is TurnState.CUT,
        failed=str(turn.error) if turn.error else turn.failed,
        finish=turn.finish,
        usage=turn.usage,
        id=turn.answer_id,
        parents=parents,
    )


def to_turn(question: SessionEntry | None, answer: SessionEntry | None) -> Turn:
    """Return the turn of a saved question and its answer, whose text is not trusted.

    Without its question it is broken; without an answer it was cut off before that began.
    """
    turn = Turn(LOST_QUESTION, phase=TurnState.CUT)
    turn.broken = question is None
    if question is not None:
        turn.text, turn.pictures = clean(question.message.text), question.message.pictures
        turn.files = tuple(replace(each, text=clean(each.text)) for each in question.files)
        turn.asked_id = question.id
    if answer is not None:
        turn.answer_id = answer.id
        turn.steps = [_cleaned(step) for step in answer.steps]
        turn.failed, turn.usage = clean(answer.failed), answer.usage
        turn.phase = TurnState.DONE
        marks = ((answer.failed, TurnState.FAILED), (answer.stopped, TurnState.STOPPED))
        for mark, phase in (*marks, (answer.cut, TurnState.CUT)):
            if mark:
                turn.phase = phase
                break
        else:
            turn.finish = clean_name(answer.finish or "stop")
    return turn


def to_turns(tree: ChatTree, make: Made = to_turn) -> list[Turn]:
    """Return the turns of the current branch; `make` makes each."""
    turns: list[Turn] = []
    question: SessionEntry | None = None
    for entry in tree.branch():
        displaced = tree.displaced(entry.id)
        if entry.asks:
            if question is not None:
                turns.append(_unanswered(question, make, lost=displaced))
            question = entry
        elif question is not None and not displaced:
            turns.append(make(question, entry))
            question = None
        else:
            if question is not None:
                turns.append(_unanswered(question, make, lost=True))
            turns.append(make(None, entry))
            question = None
    if question is not None:
        turns.append(make(question, None))
    return turns


def lost_in(turns: Sequence[Turn]) -> str:
    """Return what is lost of these turns, in words; empty where they are whole."""
    questions = sum(turn.broken and not turn.asked_id for turn in turns)
    answers = sum(turn.broken and bool(turn.asked_id) for turn in turns)
    if not questions + answers:
        return ""
    counts = ((questions, "question"), (answers, "answer"))
    what = " and ".join(
        f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts if count
    )
    verb = "is" if questions + answers == 1 else "are"
    return f"{what} {verb} lost. What belonged to it is shown, and not sent to the model."


def _unanswered(question: SessionEntry, make: Made, *, lost: bool) -> Turn:
    turn = make(question, None)
    turn.broken = lost
    return turn


def _cleaned(step: TurnStep) -> TurnStep:
    return TurnStep(
        step.kind,
        clean(step.text),
        step.seconds,
        step.tokens,
        clean(step.name),
        clean(step.call),
        step.pictures,
    )
