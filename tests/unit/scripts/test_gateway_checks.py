"""What the checks of the gateway count, and how they compare: judged on answers written by hand."""

import json

import pytest

from gateway_checks import server_tests
from gateway_checks.load import Ask, Load
from gateway_checks.outcomes import judge
from gateway_checks.server_tests import compare, load_suite, parse_junit


def ask(api: str, *, stream: bool) -> Ask:
    return Ask("any", api, "/any", {"stream": stream})  # type: ignore[arg-type]


ENDS = {
    "chat": b'data: {"choices":[]}\n\ndata: [DONE]\n\n',
    "messages": b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    "responses": b'event: response.completed\ndata: {"type":"response.completed"}\n\n',
    "ollama": b'{"message":{"content":"a"}}\n{"done":true}\n',
}
FAULTS = {
    "chat": b'data: {"error":{"message":"gone"}}\n\n',
    "messages": b'event: error\ndata: {"type":"error","error":{"message":"gone"}}\n\n',
    "responses": b'event: error\ndata: {"type":"error","message":"gone"}\n\n',
    "ollama": b'{"error":"gone"}\n',
}


@pytest.mark.parametrize("api", ENDS)
def test_a_stream_is_answered_refused_or_lost(api: str) -> None:
    asked = ask(api, stream=True)
    assert judge(asked, 200, ENDS[api]).kind == "answered"
    assert judge(asked, 200, ENDS[api][:20]).kind == "lost"
    refused = judge(asked, 200, ENDS[api][:20] + b"\n\n" + FAULTS[api])
    assert (refused.kind, refused.why) == ("refused", "gone")


@pytest.mark.parametrize(
    ("api", "shape"),
    [
        ("chat", {"error": {"message": "no"}}),
        ("responses", {"error": {"message": "no"}}),
        ("messages", {"type": "error", "error": {"message": "no"}}),
        ("ollama", {"error": "no"}),
    ],
)
def test_a_refusal_has_the_shape_of_its_api(api: str, shape: dict[str, object]) -> None:
    asked = ask(api, stream=False)
    assert judge(asked, 503, json.dumps(shape).encode()).kind == "refused"
    assert judge(asked, 503, b"Bad gateway").kind == "lost"


def test_messages_do_not_take_an_error_of_openai() -> None:
    other = b'{"error":{"message":"no"}}'
    assert judge(ask("messages", stream=False), 400, other).kind == "lost"


def test_an_answer_that_is_cut_is_lost() -> None:
    assert judge(ask("chat", stream=False), 200, b'{"choices":[{"mess').kind == "lost"
    assert judge(ask("chat", stream=False), 200, b'{"choices":[]}').kind == "answered"


def test_a_load_can_be_repeated_and_has_all_kinds() -> None:
    def drawn(seed: int) -> list[Ask]:
        load = Load(seed, ollama=True, sees=True)
        return [load.draw() for _ in range(300)]

    first = drawn(7)
    assert first == drawn(7)
    assert {each.api for each in first} == {"chat", "responses", "messages", "ollama"}
    assert any(each.cancel_s for each in first)
    assert any(each.kind == "chat, picture" for each in first)


def test_tests_are_sorted_by_how_they_went() -> None:
    found = compare(
        {"a": "passed", "b": "passed", "c": "failed", "d": "skipped", "e": "failed"},
        {"a": "passed", "b": "failed", "c": "passed", "d": "skipped"},
    )
    assert found.both_pass == ("a",)
    assert found.only_gateway_fails == ("b",)
    assert found.only_hand_fails == ("c",)
    assert found.both_fail == ("e",)
    assert found.skipped == ("d",)


def test_a_junit_report_is_read() -> None:
    outcomes, why = parse_junit(
        '<testsuites><testsuite><testcase classname="unit.test_a" name="test_x[1]"/>'
        '<testcase classname="unit.test_a" name="test_y">'
        '<failure message="assert 1 == 2&#10;more"/>'
        "</testcase></testsuite></testsuites>"
    )
    assert outcomes == {"test_a.py::test_x[1]": "passed", "test_a.py::test_y": "failed"}
    assert why == {"test_a.py::test_y": "assert 1 == 2"}


def test_every_difference_on_purpose_has_a_reason() -> None:
    suite = load_suite(server_tests.TABLE)
    assert suite.profile
    assert all(each.why and each.file.endswith(".py") for each in suite.left_out)
    assert all(each.why and "::" in each.test for each in suite.on_purpose)


def test_a_reason_without_parameters_covers_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    found = compare({"a.py::b[1]": "passed", "a.py::c": "passed"}, {})
    reasons = dict.fromkeys(found.only_gateway_fails, ("", "assert 404 == 200"))
    assert server_tests.print_profile("plain", found, reasons, {"a.py::b": "it is meant"}) == 1
    shown = capsys.readouterr().out
    assert "a.py::b[1]: on purpose: it is meant" in shown
    assert "a.py::c: assert 404 == 200" in shown
