"""Prompts as clients send them: their blocks, and how much two have in common."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.kv.prompt import (
    BLOCK_CHARACTERS,
    SINGLE_LINES,
    Part,
    Prompt,
    characters_of,
    common,
    part,
    picture,
)

LONG = "".join(f"line {number}\n" for number in range(1000))


def prompt(*parts: Part) -> Prompt:
    return Prompt(parts)


@pytest.mark.parametrize("text", ["", "a", "a\n", "a\nb", "\n" * 200, "x" * 5000, LONG])
def test_the_blocks_of_a_part_are_all_of_its_text(text: str) -> None:
    blocks = part("user", "message 1", text).blocks
    assert blocks
    assert sum(block.characters for block in blocks) == len(text)
    assert all(block.characters < 2 * BLOCK_CHARACTERS for block in blocks)


@given(st.text(), st.text(min_size=1), st.text(min_size=1))
def test_texts_with_the_same_beginning_have_the_same_blocks(
    same: str, one: str, other: str
) -> None:
    before, now = (prompt(part("user", "message 1", same + end)) for end in (one, other))
    count = common(before, now)
    assert characters_of(before, count) == characters_of(now, count)
    # At most the block in which they part is lost, and with it the line that it begins with.
    left = len(same) - characters_of(now, count)
    assert left <= BLOCK_CHARACTERS + max(map(len, (same + "x").splitlines()))


def test_a_later_line_leaves_earlier_blocks_alone() -> None:
    before = prompt(part("system", "system prompt", LONG))
    now = prompt(part("system", "system prompt", LONG + "one more\n"))
    assert common(before, now) >= len(before.parts[0].blocks) - 1


@pytest.mark.parametrize("where", [0, 70, 500])
def test_a_line_that_is_new_leaves_most_later_blocks_alone(where: int) -> None:
    lines = LONG.splitlines(keepends=True)
    longer = "".join([*lines[:where], "a line that is new\n", *lines[where:]])
    known = {block.digest for block in part("system", "system prompt", LONG).blocks}
    now = part("system", "system prompt", longer)
    assert sum(each.characters for each in now.blocks if each.digest in known) > 0.7 * len(LONG)


def test_a_text_of_empty_lines_takes_no_longer_than_another() -> None:
    took = []
    for text in ("\n" * (1 << 20), LONG * ((1 << 20) // len(LONG))):
        began = time.process_time()
        part("user", "message 1", text)
        took.append(time.process_time() - began)
    assert took[0] < 5 * took[1] + 0.1


def test_each_of_the_first_lines_is_a_block() -> None:
    blocks = part("system", "system prompt", LONG).blocks
    assert [block.line for block in blocks[:SINGLE_LINES]] == list(range(1, SINGLE_LINES + 1))


def test_the_same_text_of_another_role_is_another_part() -> None:
    assert common(prompt(part("user", "1", "a")), prompt(part("assistant", "1", "a"))) == 0


def test_where_a_message_ends_is_part_of_the_prompt() -> None:
    one = prompt(part("system", "1", "a\nb"))
    two = prompt(part("system", "1", "a\n"), part("system", "2", "b"))
    assert [len(each.chain()) for each in (one, two)] == [2, 2]
    assert common(one, two) == 1
    assert one.chain()[1] != two.chain()[1]


def test_the_name_of_a_part_is_for_people_only() -> None:
    assert common(prompt(part("user", "1", "a")), prompt(part("user", "2", "a"))) == 1


def test_a_picture_is_its_bytes() -> None:
    one, same, other = (prompt(picture("picture 1", data, 700)) for data in (b"a", b"a", b"b"))
    assert common(one, same) == 1
    assert common(one, other) == 0
    assert one.characters == 700


def test_a_chain_says_what_is_equal_up_to_each_block() -> None:
    system = part("system", "system prompt", "You help.\nBriefly.")
    one = prompt(system, part("user", "message 1", "Hello"))
    other = prompt(system, part("user", "message 1", "Goodbye"))
    assert one.chain()[:2] == other.chain()[:2]
    assert one.chain()[2] != other.chain()[2]
    assert len(set(one.chain())) == 3
