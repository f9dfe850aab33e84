"""Which server it is, which model is asked for, and what may be sent to it."""

from typing import Any

import pytest

from runner.base.errors import UsageError
from runner.chat.dialect import LLAMA_SERVER, OPENAI, Offer, chosen, is_step, offers_of, recognised
from runner.chat.wire import Message, Options, request_body, simpler_body

OPENAI_FIELDS = {"messages", "stream", "stream_options", "model", "reasoning_effort", "max_tokens"}


@pytest.mark.parametrize(
    ("owner", "name", "template"),
    [
        ("vllm", "vLLM", True),
        ("sglang", "SGLang", True),
        ("library", "Ollama", False),
        ("organization_owner", "LM Studio", False),
        ("llama-swap", "llama-swap", False),
        ("stepfun", "OpenAI-compatible", False),
    ],
)
def test_a_server_is_known_by_who_owns_its_models(owner: str, name: str, template: bool) -> None:
    dialect = recognised({}, offers_of({"data": [{"id": "m", "owned_by": owner}]}))
    assert (dialect.name, dialect.template, dialect.progress) == (name, template, False)


def test_only_llama_server_gets_its_fields() -> None:
    assert recognised({"build_info": "b10356"}, []) is LLAMA_SERVER
    options = Options(effort="low", max_tokens=5, model="m", dialect=OPENAI)
    assert set(request_body([Message("user", "hi")], options)) == OPENAI_FIELDS
    assert "return_progress" in request_body([Message("user", "hi")], Options())


@pytest.mark.parametrize(
    "reply",
    [
        {"data": [{"id": "a"}, {"id": "b"}, {"id": "a"}]},
        {"models": [{"model": "a"}, {"name": "b"}]},
        [{"key": "a"}, "b"],
    ],
)
def test_models_are_listed_in_many_ways(reply: object) -> None:
    assert [offer.name for offer in offers_of(reply)] == ["a", "b"]


@pytest.mark.parametrize(
    "reply", [None, {}, "x", {"data": 3}, [1, None, {"id": 5}], {"data": [[]]}]
)
def test_what_is_no_list_of_models_offers_none(reply: object) -> None:
    assert offers_of(reply) == []
    assert chosen([], "").name == ""


def test_the_context_is_what_is_loaded_and_not_what_could_be() -> None:
    row = {"id": "a", "loaded_context_length": 4096, "context_length": 262144}
    assert offers_of({"data": [row]})[0].context == 4096
    assert offers_of({"data": [{"id": "a", "max_model_len": -1}]})[0].context == 0


@pytest.mark.parametrize(
    ("names", "model"),
    [
        (["qwen3-32b", "stepfun-ai/Step-3.7-Flash", "llama-3"], "stepfun-ai/Step-3.7-Flash"),
        (["step-3.5-flash", "step_3p7_flash.gguf", "step-3"], "step_3p7_flash.gguf"),
        (["glm-5", "step3-vl"], "step3-vl"),
        (["whatever"], "whatever"),
        (["nomic-embed-text", "my-model"], "my-model"),
    ],
)
def test_the_step_is_chosen_or_the_only_model(names: list[str], model: str) -> None:
    assert chosen([Offer(name) for name in names], "").name == model


@pytest.mark.parametrize(
    "names", [["glm-5", "kimi"], ["Step-3.7-Q4", "Step-3.7-Q8"], ["footstep-3x", "b"]]
)
def test_among_several_the_user_chooses_from_the_list(names: list[str]) -> None:
    offers = [Offer(name) for name in names]
    with pytest.raises(UsageError) as raised:
        chosen(offers, "")
    assert all(name in raised.value.why for name in names)
    assert raised.value.next == f"Name one of them: --model {names[0]}"
    assert chosen(offers, "an-alias") == Offer("an-alias"), "it may know more than it lists"


def test_a_strict_server_gets_what_it_takes() -> None:
    body = request_body([Message("user", "hi")], Options(max_tokens=5, dialect=OPENAI))
    detail = {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}
    assert "stream_options" not in (simpler_body(body, 422, detail) or {})
    words = {"error": {"message": "Use 'max_completion_tokens' instead."}}
    simpler = simpler_body(body, 400, words) or {}
    assert (simpler.get("max_completion_tokens"), "max_tokens" in simpler) == (5, False)
    assert simpler_body(body, 400, {"error": {"message": "no"}}) is None
    assert simpler_body(body, 500, detail) is None


@pytest.mark.parametrize(
    ("model", "props", "step"),
    [
        ("step-3.7-flash", {}, True),
        ("stepfun-ai/Step-3.7-Flash-GGUF", {}, True),
        ("", {"model_path": "/models/Step-3.7-Flash-IQ4_XS-00001-of-00003.gguf"}, True),
        ("default", {"model_alias": "Step3p7"}, True),
        ("step-3.5-flash", {"model_path": "/step-3.7/qwen.gguf"}, False),
        ("qwen3", {"model_path": 7, "model_alias": None}, False),
    ],
)
def test_whether_images_cost_what_they_do_with_step(
    model: str, props: dict[str, Any], step: bool
) -> None:
    assert is_step(model, props) is step
