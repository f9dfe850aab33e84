"""Why a prompt was read again, in words that name the part that differs."""

import pytest

from runner.kv.differ import nearest, why
from runner.kv.prompt import Part, Prompt, part, picture

EFFORT = part("settings", "reasoning effort", "high")
SYSTEM = part("system", "system prompt", "You help.\nBriefly.\nIn English.\n")
LOOK = part("tools", "get_weather", "the weather")
FIND = part("tools", "find", "finds")


def user(number: int, text: str = "") -> Part:
    return part("user", f"message {number}", text or f"question {number}")


def answer(number: int, text: str = "") -> Part:
    return part("assistant", f"message {number}", text or f"answer {number}")


def thinking(number: int, text: str = "Hm.") -> Part:
    return part("thinking", f"message {number}", text)


def shown(number: int, data: bytes = b"a") -> Part:
    return picture(f"picture in message {number}", data, 700)


def prompt(*parts: Part) -> Prompt:
    return Prompt(parts)


HEAD = (EFFORT, SYSTEM, LOOK)
TALK = (user(1), answer(2), user(3), answer(4), user(5))
LINES = "".join(f"line {number} of some length, to fill a block or two\n" for number in range(500))


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ((EFFORT, SYSTEM), (part("settings", "reasoning effort", "low"), SYSTEM),
         "reasoning effort changed"),
        ((SYSTEM,), (EFFORT, SYSTEM), "reasoning effort changed"),
        ((SYSTEM,), (part("system", "system prompt", "You?\nBriefly.\nIn English.\n"),),
         "the system prompt changed at its first line"),
        ((SYSTEM,), (part("system", "system prompt", "You help.\nBriefly.\nIn German.\n"),),
         "the system prompt changed at line 3"),
        ((SYSTEM, user(1)), (part("system", "system prompt", "You help.\n"), user(1)),
         "the system prompt changed at its end"),
        ((part("system", "system prompt", LINES),),
         (part("system", "system prompt", LINES.replace("line 400", "row 400")),),
         "the system prompt changed after line 397"),
        ((SYSTEM, user(1)), (user(1),), "the system prompt was left out"),
        ((user(1),), (SYSTEM, user(1)), "the system prompt was added"),
        ((SYSTEM, user(1)), (SYSTEM, LOOK, user(1)), "tools changed: get_weather was added"),
        ((*HEAD, FIND, user(1)), (*HEAD, user(1)), "tools changed: find was left out"),
        ((*HEAD, user(1)), (EFFORT, SYSTEM, part("tools", "get_weather", "else"), user(1)),
         "tools changed: get_weather was changed"),
        ((*HEAD, FIND), (EFFORT, SYSTEM, FIND, LOOK), "tools changed: their order"),
        ((SYSTEM, user(1)), (SYSTEM, *(part("tools", each, each) for each in "abcde"), user(1)),
         "tools changed: a, b, c and 2 more were added"),
        ((*HEAD, *TALK), (*HEAD, user(1), answer(2), user(3, "else"), answer(4), user(5)),
         "message 3 was edited"),
        ((*HEAD, *TALK), (*HEAD, user(1), answer(2), user(3, "else")), "message 3 is another one"),
        ((user(1, LINES),), (user(1, LINES + "And now?"),), "message 1 was edited"),
        ((*HEAD, *TALK), (*HEAD, user(3), answer(4), user(5)), "messages 1 to 2 were left out"),
        ((*HEAD, *TALK), (*HEAD, user(1), answer(2), answer(4), user(5)), "message 3 was left out"),
        ((*HEAD, *TALK), (*HEAD, user(1, "new"), *TALK), "message 1 was added"),
        ((user(1), shown(1)), (user(1), shown(1, b"b")), "the picture in message 1 was replaced"),
        ((user(1), answer(2)), (user(1), shown(1), answer(2)),
         "the picture in message 1 was added"),
        ((user(1), shown(1), answer(2)), (user(1), answer(2)),
         "the picture in message 1 was left out"),
        ((user(1), thinking(2), answer(2)), (user(1), answer(2), user(3)),
         "the thinking in message 2 was left out"),
        ((user(1), answer(2)), (user(1), thinking(2), answer(2)),
         "the thinking in message 2 was added"),
        ((user(1), thinking(2), answer(2)), (user(1), thinking(2, "No."), answer(2)),
         "the thinking in message 2 was edited"),
        ((part("text", "prompt", LINES),), (part("text", "prompt", "x" + LINES),),
         "the prompt changed at its first line"),
        ((user(1),), (answer(1),), "message 1 is another one"),
        # One is the beginning of the other.
        ((*HEAD, *TALK), (*HEAD, *TALK, answer(6), user(7)), ""),
        ((*HEAD, *TALK), (*HEAD, user(1)), ""),
        ((part("text", "prompt", "Once"),), (part("text", "prompt", "Once upon"),), ""),
        ((part("text", "prompt", LINES),), (part("text", "prompt", LINES + "more"),), ""),
    ],
)  # fmt: skip
def test_the_part_that_differs_is_named(
    before: tuple[Part, ...], now: tuple[Part, ...], said: str
) -> None:
    assert why(Prompt(before), Prompt(now)) == said


def test_the_nearest_prompt_has_most_of_it_also_where_its_beginning_differs() -> None:
    other = prompt(SYSTEM, user(1, "something else entirely"))
    same = prompt(SYSTEM, *TALK)
    now = prompt(part("system", "system prompt", "New\n"), *TALK, answer(6))
    near = nearest([other, same, other], now)
    assert near is not None
    assert (near.at, near.prompt, near.common) == (1, same, 0)
    assert near.shared == sum(each.characters for each in TALK)


def test_of_equal_prompts_the_latest_is_nearest() -> None:
    now = prompt(*HEAD, *TALK)
    near = nearest([now, now], now)
    assert near is not None
    assert near.at == 1
    assert near.common == near.shared == now.characters


def test_a_short_beginning_does_not_hide_a_longer_one() -> None:
    long, short = prompt(*HEAD, *TALK), prompt(*HEAD, user(1))
    near = nearest([long, short], prompt(*HEAD, *TALK, answer(6)))
    assert near is not None
    assert near.prompt == long


def test_nothing_is_near_where_nothing_is_shared() -> None:
    assert nearest([], prompt(user(1))) is None
    assert nearest([prompt(user(2))], prompt(user(1))) is None
