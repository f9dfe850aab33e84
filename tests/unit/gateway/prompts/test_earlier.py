"""What of a prompt is known from earlier ones, and why it is read again."""

import pytest

from runner.gateway.activity import Entry
from runner.gateway.prompts.earlier import BLOCKS, STARTED, Earlier
from runner.gateway.prompts.headers import headers_of
from runner.gateway.refusal import Api
from runner.kv.prompt import Part, Prompt, part

LINES = "".join(f"Line {number} of what is in a system prompt.\n" for number in range(300))
SYSTEM = part("system", "system prompt", LINES)
NEW_SYSTEM = part("system", "system prompt", f"Today is Friday.\n{LINES}")
USER = part("user", "message 1", "Hi")
OTHER = part("user", "message 1", "".join(f"Other line {number}.\n" for number in range(600)))
ANSWER = part("assistant", "message 2", "Hello")


def judged(
    earlier: Earlier, *parts: Part, starts: int = 0, restored: int = 0, client: str = "a"
) -> Entry:
    entry = Entry(1, client, Api.OPENAI, "", 0.0)
    entry.prompt, entry.restored = Prompt(parts), restored
    earlier.judge(entry, starts)
    return entry


def test_the_first_prompt_is_new() -> None:
    entry = judged(Earlier(), SYSTEM, USER)
    assert (entry.known, entry.reread) == (0, "")


def test_a_prompt_that_goes_on_is_known_and_not_read_again() -> None:
    earlier = Earlier()
    judged(earlier, SYSTEM, USER)
    entry = judged(earlier, SYSTEM, USER, ANSWER)
    assert 0.99 < entry.known < 1
    assert entry.reread == ""


def test_what_changed_at_the_beginning_is_why_all_of_it_is_read_again() -> None:
    earlier = Earlier()
    judged(earlier, SYSTEM, USER)
    entry = judged(earlier, NEW_SYSTEM, USER)
    assert entry.known > 0.9
    assert entry.reread == "the system prompt changed at its first line"


def test_a_small_part_is_not_worth_a_word() -> None:
    earlier = Earlier()
    judged(earlier, SYSTEM, USER, ANSWER)
    assert judged(earlier, SYSTEM, part("user", "message 1", "Ho"), ANSWER).reread == ""


def test_another_conversation_is_new_and_no_re_reading() -> None:
    earlier = Earlier()
    judged(earlier, SYSTEM, USER)
    entry = judged(earlier, OTHER)
    assert (entry.known, entry.reread) == (0, "")


def test_what_another_earlier_prompt_has_at_its_beginning_is_not_read_again() -> None:
    """The nearest one differs early, and its fork before it goes on further."""
    earlier = Earlier()
    judged(earlier, SYSTEM, OTHER)
    judged(earlier, NEW_SYSTEM, OTHER, ANSWER)
    assert judged(earlier, SYSTEM, OTHER, ANSWER, USER).reread == ""


def test_an_engine_that_was_started_again_has_read_nothing() -> None:
    earlier = Earlier()
    judged(earlier, SYSTEM, USER)
    assert judged(earlier, SYSTEM, USER, ANSWER, starts=1).reread == STARTED
    assert judged(earlier, SYSTEM, USER, ANSWER, USER, starts=1).reread == ""


def test_nobody_hears_of_another_client_s_prompts() -> None:
    earlier = Earlier()
    judged(earlier, SYSTEM, part("tools", "secret", LINES), USER)
    entry = judged(earlier, SYSTEM, part("tools", "mine", LINES), USER, client="b")
    assert (entry.known, entry.reread) == (0, "")


def test_what_was_restored_is_not_read_again() -> None:
    earlier = Earlier()
    judged(earlier, SYSTEM, USER)
    assert judged(earlier, SYSTEM, USER, ANSWER, starts=1, restored=3000).reread == ""


def test_a_prompt_without_a_reading_is_left_alone() -> None:
    earlier = Earlier()
    entry = Entry(1, "", Api.OPENAI, "", 0.0)
    earlier.judge(entry, 0)
    huge = "x" * 1024 * (BLOCKS + 1)
    assert judged(earlier, part("user", "message 1", huge)).known == 0
    assert judged(earlier, part("user", "message 1", huge)).known == 0


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, {}),
        ({"restored": 5000, "read_tps": 812.34},
         {"x-steprun-restored": "5000", "x-steprun-read-rate": "812.3"}),
        ({"reread": "tools changed: get_weather was added"},
         {"x-steprun-reread": "tools changed: get_weather was added"}),
    ],
)  # fmt: skip
def test_headers_say_what_is_known_before_the_answer(
    fields: dict[str, object], found: dict[str, str]
) -> None:
    entry = Entry(1, "", Api.OPENAI, "", 0.0)
    for name, value in fields.items():
        setattr(entry, name, value)
    assert dict(headers_of(entry)) == found
