"""What a resumed chat costs: the cases, and what is read from a chat's file."""

from pathlib import Path

from kv_checks.resume import Measured, cases, measured, one_message


def test_a_text_of_several_lines_is_typed_as_one_message():
    assert one_message("a\nb\nc") == "a\\\nb\\\nc"


def test_images_have_cases_of_their_own():
    without, more = cases("doc", []), cases("doc", [Path("a.png")])
    assert more[: len(without)] == without
    assert all(case.images for case in more[len(without) :])
    assert all(case.begin[0] == "doc\\\nWhat is it about?" for case in more)


def test_the_record_of_an_answer_is_read():
    usage = {"prompt_tokens": 9, "cached_tokens": 7, "first_token_s": 0.25}
    steps = [{"kind": "thinking", "text": "hm"}, {"kind": "text", "text": "Yes."}]
    assert measured({"steps": steps, "usage": usage}) == Measured("hm|Yes.", 9, 7, 0.25)
    assert measured({}) == Measured("", 0, 0, 0.0)
