"""The anthropic package."""

from typing import Any

import anthropic

from clients.site import PARAMETERS, SEEN_TOKENS, WEATHER, NotOfferedError, Site, check, in_base64

TOOL: Any = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": PARAMETERS,
}
OTHER: Any = {**TOOL, "name": "get_time", "description": "The time in a city"}


def _client(site: Site) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=site.url, api_key=site.key, max_retries=0)


def _ask(site: Site, content: Any = "Hello", **options: Any) -> Any:
    options.setdefault("max_tokens", 100)
    messages = options.pop("messages", [{"role": "user", "content": content}])
    return _client(site).messages.create(model=site.model, messages=messages, **options)


def _image(kind: str = "PNG") -> dict[str, Any]:
    source = {"type": "base64", "media_type": f"image/{kind.lower()}", "data": in_base64(kind)}
    return {"type": "image", "source": source}


def _call(reply: Any, name: str = "get_weather") -> str:
    (call, *_) = [each for each in reply.content if each.type == "tool_use"]
    assert call.name == name
    assert call.input["city"]
    return str(call.input)


@check
def messages(site: Site) -> str:
    """Messages, with a system prompt and stop_sequences."""
    reply = _ask(site, system="Be brief.", stop_sequences=["zzz"])
    assert reply.usage.output_tokens > 0
    return "".join(each.text for each in reply.content if each.type == "text")


@check
def stream(site: Site) -> None:
    """Stream."""
    message: Any = [{"role": "user", "content": "Hello"}]
    with _client(site).messages.stream(
        model=site.model, max_tokens=100, messages=message
    ) as events:
        kinds = [event.type for event in events]
        assert events.get_final_message().usage.output_tokens > 0
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


@check
def tools(site: Site) -> str:
    """Tools: any."""
    return _call(_ask(site, WEATHER, tools=[TOOL], tool_choice={"type": "any"}, max_tokens=300))


@check
def tools_named(site: Site) -> str:
    """Tools: the named one."""
    choice = {"type": "tool", "name": "get_time"}
    reply = _ask(site, WEATHER, tools=[TOOL, OTHER], tool_choice=choice, max_tokens=300)
    return _call(reply, "get_time")


@check
def tools_stream(site: Site) -> str:
    """Tools: streamed."""
    message: Any = [{"role": "user", "content": WEATHER}]
    with _client(site).messages.stream(
        model=site.model,
        max_tokens=300,
        messages=message,
        tools=[TOOL],
        tool_choice={"type": "any"},
    ) as events:
        return _call(events.get_final_message())


@check
def tool_result(site: Site) -> None:
    """Tools: a result with a picture."""
    history = [
        {"role": "user", "content": WEATHER},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Paris"}}
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "content": [{"type": "text", "text": "sunny"}, _image()],
                }
            ],
        },
    ]
    reply = _ask(site, messages=history, tools=[TOOL])
    read = reply.usage.input_tokens + (reply.usage.cache_read_input_tokens or 0)
    assert read > SEEN_TOKENS, reply.usage


@check
def picture(site: Site) -> None:
    """Picture: PNG and WebP."""
    for kind in ("PNG", "WEBP"):
        reply = _ask(site, [_image(kind), {"type": "text", "text": "What colour is it?"}])
        read = reply.usage.input_tokens + (reply.usage.cache_read_input_tokens or 0)
        assert read > SEEN_TOKENS, (kind, reply.usage)


@check
def count(site: Site) -> str:
    """count_tokens, with a picture and tools."""
    content = [_image(), {"type": "text", "text": "What colour is it?"}]
    message: Any = [{"role": "user", "content": content}]
    counted = _client(site).messages.count_tokens(model=site.model, messages=message, tools=[TOOL])
    reply = _ask(site, messages=message, tools=[TOOL], max_tokens=1)
    read = reply.usage.input_tokens + (reply.usage.cache_read_input_tokens or 0)
    assert counted.input_tokens == read, (counted, reply.usage)
    return f"{read} tokens"


@check
def thinking(site: Site) -> None:
    """Thinking, and thinking sent back."""
    budget = {"type": "enabled", "budget_tokens": 1024}
    reply = _ask(site, "What is 2+3?", thinking=budget, max_tokens=1200)
    assert any(each.type == "thinking" for each in reply.content), reply.content
    content = [each.model_dump(exclude_none=True) for each in reply.content]
    history = [
        {"role": "user", "content": "What is 2+3?"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": "And 3+3?"},
    ]
    assert _ask(site, messages=history, thinking=budget, max_tokens=1200).content


@check
def thinking_off(site: Site) -> None:
    """Thinking: disabled."""
    reply = _ask(site, "What is 2+3?", thinking={"type": "disabled"}, max_tokens=200)
    if any(each.type == "thinking" for each in reply.content):
        raise NotOfferedError("The model always thinks, and the answer shows it.")


@check
def models(site: Site) -> str:
    """models.list."""
    return next(iter(_client(site).models.list())).id


@check
def model(site: Site) -> None:
    """models.retrieve."""
    assert _client(site).models.retrieve(site.model).id == site.model


@check
def errors(site: Site) -> str:
    """A malformed body is a BadRequestError in Anthropic's shape."""
    try:
        _ask(site, messages=[{"content": "no role"}])
    except anthropic.BadRequestError as error:
        assert isinstance(error.body, dict)
        assert error.body["type"] == "error", error.body
        return str(error.body["error"]["message"])
    raise AssertionError("It was answered.")
