"""The openai package: chat completions, completions and models."""

import json
from typing import Any, Literal

import openai
from pydantic import BaseModel

from clients.site import (
    OTHER_TOOL,
    SCHEMA,
    SEEN_TOKENS,
    TOOL,
    WEATHER,
    NotOfferedError,
    Site,
    check,
    data_url,
    hosted,
    picture,
    refused,
)


class Colour(BaseModel):
    """What `.parse` fills."""

    colour: Literal["red", "blue"]


def _client(site: Site) -> openai.OpenAI:
    return openai.OpenAI(base_url=site.v1, api_key=site.key, max_retries=0)


def _ask(site: Site, content: Any = "Hello", **options: Any) -> Any:
    options.setdefault("max_tokens", 60)
    messages = options.pop("messages", [{"role": "user", "content": content}])
    return _client(site).chat.completions.create(model=site.model, messages=messages, **options)


def _seen(site: Site, url: str) -> str:
    """Ask about a picture; return the answer if its tokens were read."""
    parts = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "What colour is it?"},
    ]
    reply = _ask(site, parts)
    assert reply.usage.prompt_tokens > SEEN_TOKENS, reply.usage
    return str(reply.choices[0].message.content)


def _call(reply: Any, name: str = "get_weather") -> str:
    (call, *_) = reply.choices[0].message.tool_calls
    assert call.function.name == name, call
    assert json.loads(call.function.arguments)["city"], call
    assert reply.choices[0].finish_reason == "tool_calls", reply.choices[0].finish_reason
    return str(call.function.arguments)


@check
def chat(site: Site) -> str:
    """Chat."""
    reply = _ask(site)
    assert reply.choices[0].finish_reason in {"stop", "length"}
    return str(reply.choices[0].message.content)


@check
def stream(site: Site) -> None:
    """Stream, with usage."""
    chunks = list(_ask(site, stream=True, stream_options={"include_usage": True}))
    assert len(chunks) > 2
    assert chunks[-1].usage.completion_tokens > 0


@check
def options(site: Site) -> None:
    """Stop, seed, penalties, logprobs, logit_bias."""
    reply = _ask(
        site,
        stop=["zzz"],
        seed=1,
        presence_penalty=0.1,
        frequency_penalty=0.1,
        logprobs=True,
        top_logprobs=2,
        logit_bias={"5": -1},
    )
    assert reply.choices[0].logprobs.content


@check
def roles(site: Site) -> None:
    """Developer role, max_completion_tokens, reasoning_effort."""
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    reply = _ask(
        site, messages=messages, max_tokens=None, max_completion_tokens=9, reasoning_effort="low"
    )
    assert reply.usage.completion_tokens <= 9


@check
def tools_auto(site: Site) -> str:
    """Tools: auto."""
    reply = _ask(site, WEATHER, tools=[TOOL], max_tokens=200)
    return _call(reply) if reply.choices[0].message.tool_calls else "the model made no call"


@check
def tools_stream(site: Site) -> str:
    """Tools: required, streamed."""
    chunks = _ask(site, WEATHER, tools=[TOOL], tool_choice="required", max_tokens=300, stream=True)
    deltas = [each.choices[0].delta for each in chunks if each.choices]
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    arguments = "".join(call.function.arguments or "" for call in calls)
    assert json.loads(arguments)["city"], arguments
    return arguments


@check
def tools_required(site: Site) -> str:
    """Tools: required."""
    return _call(_ask(site, WEATHER, tools=[TOOL], tool_choice="required", max_tokens=300))


@check
def tools_named(site: Site) -> str:
    """Tools: the named one."""
    choice = {"type": "function", "function": {"name": "get_time"}}
    reply = _ask(site, WEATHER, tools=[TOOL, OTHER_TOOL], tool_choice=choice, max_tokens=300)
    return _call(reply, "get_time")


@check
def tool_history(site: Site) -> None:
    """Tools: two parallel calls and their results."""
    calls = [
        {
            "id": f"call_{city}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
        }
        for city in ("Paris", "Oslo")
    ]
    messages = [
        {"role": "user", "content": "The weather in Paris and Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_Paris", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_Oslo", "content": "rain"},
    ]
    assert _ask(site, messages=messages, tools=[TOOL]).choices[0].message.content is not None


@check
def png(site: Site) -> str:
    """Picture: PNG."""
    return _seen(site, data_url("PNG"))


@check
def webp(site: Site) -> str:
    """Picture: WebP."""
    return _seen(site, data_url("WEBP"))


@check
def gif(site: Site) -> str:
    """Picture: GIF."""
    return _seen(site, data_url("GIF"))


@check
def picture_by_url(site: Site) -> str:
    """Picture: the address of a private host."""
    with hosted(picture()) as url:
        try:
            return _seen(site, url)
        except openai.BadRequestError as error:
            raise NotOfferedError(str(error)) from error


@check
def json_object(site: Site) -> None:
    """response_format: json_object."""
    reply = _ask(site, "Answer in JSON.", response_format={"type": "json_object"}, max_tokens=200)
    if reply.choices[0].finish_reason == "stop":
        json.loads(reply.choices[0].message.content)


@check
def json_schema(site: Site) -> str:
    """response_format: json_schema."""
    form = {"type": "json_schema", "json_schema": {"name": "c", "schema": SCHEMA, "strict": True}}
    reply = _ask(site, response_format=form, max_tokens=200)
    return str(json.loads(reply.choices[0].message.content)["colour"])


@check
def parse(site: Site) -> None:
    """chat.completions.parse."""
    messages: Any = [{"role": "user", "content": "Say red, in JSON."}]
    reply = _client(site).chat.completions.parse(
        model=site.model, messages=messages, response_format=Colour, max_tokens=300
    )
    assert isinstance(reply.choices[0].message.parsed, Colour)


@check
def completions(site: Site) -> None:
    """completions, streamed, too."""
    reply = _client(site).completions.create(model=site.model, prompt="Hi", max_tokens=5)
    assert reply.usage is not None
    streamed = _client(site).completions.create(
        model=site.model, prompt="Hi", max_tokens=5, stream=True
    )
    assert list(streamed)


@check
def models(site: Site) -> str:
    """models.list."""
    (model,) = _client(site).models.list().data
    return model.id


@check
def model(site: Site) -> None:
    """models.retrieve."""
    assert _client(site).models.retrieve(site.model).id == site.model


@check
def errors(site: Site) -> str:
    """A malformed body is a BadRequestError in words."""
    try:
        _ask(site, messages=[{"content": "no role"}])
    except openai.BadRequestError as error:
        assert error.message
        return str(error.message)
    raise AssertionError("It was answered.")


@check
def embeddings(site: Site) -> None:
    """embeddings."""
    refused(lambda: _client(site).embeddings.create(model=site.model, input="Hi"))
