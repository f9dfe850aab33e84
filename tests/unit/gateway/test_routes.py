"""What there is, what there is not, and in whose words that is said."""

import pytest

from runner.gateway import routes
from runner.gateway.bodies.shapes import SHAPES
from runner.gateway.refusal import Api, Refusal


def refused(method: str, path: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        routes.find(method, path)
    return caught.value


def test_every_reader_of_a_route_is_there():
    posted = [r for r in routes.routes().values() if r.work in ("generate", "count") and r.body]
    assert {route.body for route in posted if route.api is not Api.OLLAMA} <= set(SHAPES)


def test_the_same_answers_without_the_version():
    assert routes.find("POST", "/responses") is routes.find("POST", "/v1/responses")
    assert routes.find("POST", "/messages").engine_path == "/v1/messages"


@pytest.mark.parametrize(
    ("path", "rest"),
    [("/v1/models/step", "step"), ("/models/step", "step"), ("/v1/models/a/b", "a/b")],
)
def test_a_path_has_a_name_in_it(path, rest):
    assert routes.find("GET", path).rest(path) == rest


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v1/responses/resp_1", 404, "Nothing is stored"),
        ("POST", "/v1/responses/resp_1/cancel", 404, "Nothing is stored"),
        ("POST", "/v1/embeddings", 501, "no embeddings"),
        ("POST", "/v1/audio/speech", 501, "speaks"),
        ("GET", "/v1/chat/completions", 405, "takes POST"),
        ("POST", "/v1/v1/messages", 404, "Is it /v1/messages?"),
        ("GET", "/v1/models/", 404, "Is it /v1/models?"),
        ("GET", "/nowhere", 404, "/v1/chat/completions"),
    ],
)
def test_what_is_not_there_is_said_in_words(method, path, status, words):
    refusal = refused(method, path)
    assert refusal.status == status
    assert words in refusal.message


def test_the_input_tokens_of_responses_are_no_stored_answer():
    assert routes.find("POST", "/v1/responses/input_tokens").work == "count"


@pytest.mark.parametrize(
    ("path", "headers", "api"),
    [
        ("/v1/models", {}, Api.OPENAI),
        ("/v1/models", {"anthropic-version": "2023-06-01"}, Api.ANTHROPIC),
        ("/v1/v1/messages", {}, Api.ANTHROPIC),
        ("/openai/responses", {}, Api.RESPONSES),
        ("/api/nothing", {}, Api.OLLAMA),
    ],
)
def test_an_error_has_the_shape_of_who_asks(path, headers, api):
    assert routes.api_of(path, headers) is api
