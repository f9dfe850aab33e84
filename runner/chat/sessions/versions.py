"""The versions of a turn: each question asked in one place, with each of its answers. Pure."""

from collections.abc import Sequence

from runner.chat.sessions.tree import ChatTree
from runner.chat.steps import begins


def versions(tree: ChatTree, above: str, shown: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the IDs of the question and of the answer of each version, in order.

    `above`: the ID of what the turn follows. `shown`: the version that is on the screen; it is one
    even where nothing of it is saved yet.
    """
    found: list[tuple[str, str]] = []
    for entry_id in tree.below(above):
        if not tree.entries[entry_id].asks:
            found.append(("", entry_id))  # its question is lost
            continue
        answers = [each for each in tree.below(entry_id) if not tree.entries[each].asks]
        counted = [each for each in answers if each == shown[1] or _counts(tree, each, answers)]
        found += [(entry_id, each) for each in counted or answers[-1:]] or [(entry_id, "")]
    if shown not in found:
        unanswered = (shown[0], "")  # no version once an answer to it is on its way
        found = [*(each for each in found if each != unanswered), shown]
    return found


def _counts(tree: ChatTree, answer_id: str, answers: Sequence[str]) -> bool:
    """Whether an answer is a version: not if nothing arrived, or if another one goes on from it."""
    entry = tree.entries[answer_id]
    if not entry.steps:
        return not entry.failed
    whole = entry.finish == "stop" and bool(entry.message.text)
    return whole or not any(begins(entry.steps, tree.entries[each].steps) for each in answers)
