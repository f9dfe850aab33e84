"""Records, the tree that they make, and its current branch as turns: all of it pure."""

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from runner.base.errors import SteprunError
from runner.chat.events import Usage
from runner.chat.history import to_messages
from runner.chat.sessions.branch import LOST_QUESTION, answer_of, lost_in, question_of, to_turns
from runner.chat.sessions.entries import line, to_record
from runner.chat.sessions.parts import PartLines, read_part
from runner.chat.sessions.tree import ChatTree, current_record, name_record, read_tree
from runner.chat.steps import StepKind, TurnStep
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Picture


def no_pictures(_: object) -> tuple[Picture, ...]:
    return ()


def kept(picture: Picture) -> dict[str, str]:
    return {"name": picture.name}


def first_format(*records: dict[str, object]) -> list[bytes]:
    return [json.dumps({"at": str(at), **record}).encode() for at, record in enumerate(records)]


def asks(text: str) -> dict[str, object]:
    return {"role": "user", "text": text}


def answers(text: str, **more: object) -> dict[str, object]:
    return {"role": "assistant", "text": text, **more}


def talk(count: int) -> list[bytes]:
    """Return the lines of a chat of format 2 of so many turns."""
    tree, lines = ChatTree(), []
    for number in range(count):
        turn = Turn(f"q{number}", phase=TurnState.DONE, answer=f"a{number}", finish="stop")
        turn.asked_id, turn.answer_id = f"q-{number}", f"a-{number}"
        for make in (question_of, answer_of):
            entry = make(turn, tree.ancestors(tree.current))
            tree.add(entry)
            lines.append(line(to_record(entry, "now", kept)))
    return lines


def turns_of(lines: Sequence[bytes]) -> list[Turn]:
    return to_turns(read_tree(lines, no_pictures)[0])


def pairs(lines: Sequence[bytes]) -> list[tuple[str, str, bool]]:
    return [(turn.text, turn.answer, turn.broken) for turn in turns_of(lines)]


def sent(lines: Sequence[bytes]) -> list[str]:
    return [message.text for message in to_messages([*turns_of(lines), Turn("next")])]


def test_what_is_saved_of_a_turn_is_loaded():
    turn = Turn("hi", phase=TurnState.STOPPED, reasoning="hm", answer="part")
    turn.steps.append(TurnStep(StepKind.CALL, "{}", 1.5, 3, "zoom", "c1"))
    turn.usage = Usage(10, 4, 3, 5.0, 6.0, 7, 8, 2, "the picture was replaced", 9.0)
    failed = Turn("oh", phase=TurnState.FAILED, error=SteprunError("It broke.", why="So."))
    tree, lines = ChatTree(), []
    for number, each in enumerate((turn, failed)):
        each.asked_id, each.answer_id = f"q{number}", f"a{number}"
        for make in (question_of, answer_of):
            entry = make(each, tree.ancestors(tree.current))
            tree.add(entry)
            lines.append(line(to_record(entry, "now", kept)))
    first, second = turns_of(lines)
    assert (first.text, first.steps, first.phase) == ("hi", turn.steps, TurnState.STOPPED)
    assert first.usage == turn.usage
    assert (second.phase, second.note()) == (TurnState.FAILED, "It broke. So.")


def test_saved_text_is_not_trusted():
    [turn] = turns_of(first_format(asks("\x1b[31mred"), answers("\x07so", failed="\x1bno")))
    assert (turn.text, turn.answer, turn.failed) == ("[31mred", "so", "no")


def test_a_question_without_an_answer_was_cut_off_by_the_end_of_the_program():
    [turn] = turns_of(first_format(asks("hi")))
    assert turn.phase is TurnState.CUT


def test_an_answer_that_was_replaced_in_format_1_is_a_version():
    lines = first_format(asks("q"), answers("one"), {"retry": True}, answers("two"))
    tree, unreadable = read_tree(lines, no_pictures)
    assert [(turn.text, turn.answer) for turn in to_turns(tree)] == [("q", "two")]
    assert not unreadable
    question = tree.branch()[0]
    assert [tree.entries[each].message.text for each in tree.below(question.id)] == ["one", "two"]


def test_the_current_branch_and_the_name_are_kept():
    lines = first_format(asks("q"), answers("one"), {"retry": True}, answers("two"))
    tree, _ = read_tree(lines, no_pictures)
    first = tree.below(tree.branch()[0].id)[0]
    lines += [json.dumps(each).encode() for each in (current_record(first), name_record("Mine"))]
    tree, unreadable = read_tree([*lines, b'{"current": "no such"}'], no_pictures)
    assert [turn.answer for turn in to_turns(tree)] == ["one"]
    assert (tree.name, unreadable) == ("Mine", [])


# --- damage -------------------------------------------------------------------------------------


def test_a_lost_question_does_not_put_its_answer_under_another():
    records = [record for n in range(3) for record in (asks(f"q{n}"), answers(f"a{n}"))]
    for lines in (first_format(*records), talk(3)):
        lines[2] = b"spoilt"
        assert pairs(lines) == [
            ("q0", "a0", False),
            (LOST_QUESTION, "a1", True),
            ("q2", "a2", False),
        ]
        assert sent(lines) == ["q0", "a0", "q2", "a2", "next"]
    assert "1 question is lost" in lost_in(turns_of(lines))


def test_a_lost_answer_does_not_put_two_questions_into_one():
    records = [record for n in range(3) for record in (asks(f"q{n}"), answers(f"a{n}"))]
    for lines in (first_format(*records), talk(3)):
        lines[1] = b"spoilt"
        assert pairs(lines) == [("q0", "", True), ("q1", "a1", False), ("q2", "a2", False)]
        assert sent(lines) == ["q1", "a1", "q2", "a2", "next"]


def test_a_lost_answer_and_the_next_question_are_no_pair():
    records = [record for n in range(3) for record in (asks(f"q{n}"), answers(f"a{n}"))]
    for lines in (first_format(*records), talk(3)):
        lines[1:3] = [b"spoilt", b"spoilt"]
        assert "a1" not in sent(lines)
        assert "q0" not in sent(lines)
        assert [turn.answer for turn in turns_of(lines)] == ["", "a1", "a2"]


SPOILT = st.sampled_from([b"", b"{}", b"\xff\0", b'{"id": 7}', b"[" * 50_000, b'{"role": "user"}'])


@given(st.data())
def test_no_damage_makes_a_pair_that_never_was(data):
    """Of both formats: lines spoilt, deleted, cut in two; the file cut at any byte."""
    records = [record for n in range(5) for record in (asks(f"q{n}"), answers(f"a{n}"))]
    lines = data.draw(st.sampled_from([first_format(*records), talk(5)]))
    second = b'"id": ' in lines[0]
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        half = data.draw(st.integers(0, len(lines[at])))
        how = data.draw(st.sampled_from(["spoil", "halve", "delete"] if second else ["spoil"]))
        if how == "spoil":
            lines[at] = data.draw(SPOILT.filter(bool))
        elif how == "halve":
            lines[at : at + 1] = [lines[at][:half], lines[at][half:]]
        elif len(lines) > 1:
            del lines[at]
    whole = b"\n".join(each.rstrip(b"\n") for each in lines)
    whole = whole[: data.draw(st.integers(0, len(whole)))]
    turns = turns_of(whole.split(b"\n"))
    for turn in turns:
        if turn.answer and not turn.broken:
            assert turn.text[1:] == turn.answer[1:]
    sent = "\n\n".join(message.text for message in to_messages([*turns, Turn("q9")]))
    numbers = [int(text[1:]) for text in sent.split("\n\n")]
    assert numbers == sorted(numbers)


# --- the part of an answer ------------------------------------------------------------------------


def grown(steps: list[TurnStep], so_far: int) -> list[TurnStep]:
    """Return the steps when so many characters have arrived."""
    found = []
    for step in steps:
        if so_far > 0:
            found.append(TurnStep(step.kind, step.text[:so_far], tokens=1))
        so_far -= len(step.text)
    return found


@given(
    st.lists(st.tuples(st.sampled_from(StepKind), st.text(min_size=1)), min_size=1, max_size=4),
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.data(),
)
def test_a_part_that_is_cut_anywhere_is_the_beginning_of_the_answer(pieces, marks, data):
    steps = [TurnStep(kind, text) for kind, text in pieces]
    log, written = PartLines("a1", ("q1",)), b""
    for mark in sorted(marks):
        now = grown(steps, mark)
        if lines := log.more(now, kept):
            written += lines
            log.wrote(now)
    entry = read_part(written.split(b"\n"), no_pictures)
    assert entry is not None
    assert (entry.id, entry.parents, entry.cut) == ("a1", ("q1",), True)
    assert list(entry.steps) == grown(steps, max(marks))
    cut = read_part(written[: data.draw(st.integers(0, len(written)))].split(b"\n"), no_pictures)
    for step, whole in zip(cut.steps if cut else (), steps, strict=False):
        assert step.kind == whole.kind
        assert whole.text.startswith(step.text)


def test_a_part_is_as_long_as_its_answer_however_often_it_is_saved():
    log, size = PartLines("a1", ("q1",)), 0
    for length in range(0, 100_000, 1000):
        steps = [TurnStep(StepKind.TEXT, "x" * length, tokens=length)]
        size += len(log.more(steps, kept))
        log.wrote(steps)
    assert size < 100_000 + 100 * 120


def test_half_a_line_in_a_part_is_followed_by_the_whole():
    log = PartLines("a1", ("q1",))
    steps = [TurnStep(StepKind.TEXT, "one")]
    written = log.more(steps, kept)
    log.wrote(steps)
    more = log.more([TurnStep(StepKind.TEXT, "one two")], kept)
    entry = read_part((written + more[:20] + b"\n" + more).split(b"\n"), no_pictures)
    assert entry is not None
    assert entry.message.text == "one two"


def test_what_turned_out_to_be_thinking_is_written_again():
    log = PartLines("a1", ("q1",))
    before, after = [TurnStep(StepKind.TEXT, "hm")], [TurnStep(StepKind.THINKING, "hm")]
    written = log.more(before, kept)
    log.wrote(before)
    written += log.more(after, kept)
    entry = read_part(written.split(b"\n"), no_pictures)
    assert entry is not None
    assert list(entry.steps) == after
