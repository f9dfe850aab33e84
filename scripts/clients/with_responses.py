"""The openai package: the Responses API."""

import json
from typing import Any, Literal

import openai
from pydantic import BaseModel

from clients.site import (
    PARAMETERS,
    SCHEMA,
    SEEN_TOKENS,
    WEATHER,
    Site,
    check,
    data_url,
    refused,
)

TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": PARAMETERS,
    "strict": True,
}


class Paint(BaseModel):
    """What `.parse` fills."""

    colour: Literal["red", "blue"]


def _ask(site: Site, given: Any = "Hello", **options: Any) -> Any:
    client = openai.OpenAI(base_url=site.v1, api_key=site.key, max_retries=0)
    options.setdefault("max_output_tokens", 200)
    return client.responses.create(model=site.model, input=given, **options)


@check
def create(site: Site) -> str:
    """Create, with instructions."""
    reply = _ask(site, instructions="Be brief.")
    assert reply.usage.output_tokens > 0
    return str(reply.output_text)


@check
def stream(site: Site) -> None:
    """Stream."""
    kinds = [event.type for event in _ask(site, stream=True)]
    assert kinds[0] == "response.created", kinds[:3]
    assert kinds[-1] == "response.completed", kinds[-1]


@check
def tools(site: Site) -> str:
    """Tools: required, and the result sent back."""
    reply = _ask(site, WEATHER, tools=[TOOL], tool_choice="required", max_output_tokens=400)
    (call,) = [each for each in reply.output if each.type == "function_call"]
    assert json.loads(call.arguments)["city"]
    history = [
        {"role": "user", "content": WEATHER},
        *(each.model_dump(exclude_none=True) for each in reply.output),
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    assert _ask(site, history, tools=[TOOL]).output
    return str(call.arguments)


@check
def text_format(site: Site) -> str:
    """text.format: json_schema."""
    form = {"format": {"type": "json_schema", "name": "c", "schema": SCHEMA, "strict": True}}
    return str(json.loads(_ask(site, text=form).output_text)["colour"])


@check
def parse(site: Site) -> None:
    """responses.parse."""
    client = openai.OpenAI(base_url=site.v1, api_key=site.key, max_retries=0)
    reply = client.responses.parse(
        model=site.model, input="Red, in JSON.", text_format=Paint, max_output_tokens=300
    )
    assert isinstance(reply.output_parsed, Paint), reply.output_text


@check
def picture(site: Site) -> str:
    """Picture."""
    parts = [
        {"type": "input_image", "image_url": data_url()},
        {"type": "input_text", "text": "What colour is it?"},
    ]
    reply = _ask(site, [{"role": "user", "content": parts}])
    assert reply.usage.input_tokens > SEEN_TOKENS, reply.usage
    return str(reply.output_text)


@check
def previous(site: Site) -> None:
    """previous_response_id."""
    refused(lambda: _ask(site, previous_response_id="resp_1"))


@check
def retrieve(site: Site) -> None:
    """retrieve."""
    client = openai.OpenAI(base_url=site.v1, api_key=site.key, max_retries=0)
    refused(lambda: client.responses.retrieve("resp_1"))
