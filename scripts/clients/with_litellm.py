"""litellm, through OpenAI's, Anthropic's and Ollama's API."""

import json
from typing import Any

import litellm

from clients.site import SCHEMA, SEEN_TOKENS, TOOL, WEATHER, Site, check, data_url

litellm.suppress_debug_info = True


def _ask(site: Site, api: str, content: Any = "Hello", **options: Any) -> Any:
    base = site.v1 if api == "openai" else site.url
    options.setdefault("max_tokens", 60)
    return litellm.completion(
        model=f"{api}/{site.model}",
        api_base=base,
        api_key=site.key,
        messages=[{"role": "user", "content": content}],
        num_retries=0,
        **options,
    )


def _chat(site: Site, api: str) -> str:
    reply = _ask(site, api)
    assert reply.usage.completion_tokens > 0
    assert list(_ask(site, api, stream=True))
    return str(reply.choices[0].message.content)


def _tools(site: Site, api: str, **options: Any) -> str:
    reply = _ask(site, api, WEATHER, tools=[TOOL], max_tokens=300, **options)
    calls = reply.choices[0].message.tool_calls
    if not calls:
        assert not options, "no call, though one is required"
        return "the model made no call"
    assert json.loads(calls[0].function.arguments)["city"]
    return str(calls[0].function.arguments)


@check
def openai_chat(site: Site) -> str:
    """openai/: chat, stream."""
    return _chat(site, "openai")


@check
def openai_tools(site: Site) -> str:
    """openai/: tools, required."""
    return _tools(site, "openai", tool_choice="required")


@check
def anthropic_chat(site: Site) -> str:
    """anthropic/: chat, stream."""
    return _chat(site, "anthropic")


@check
def anthropic_tools(site: Site) -> str:
    """anthropic/: tools, required."""
    return _tools(site, "anthropic", tool_choice="required")


@check
def ollama_generate(site: Site) -> str:
    """ollama/: completion, stream."""
    return _chat(site, "ollama")


@check
def ollama_chat(site: Site) -> str:
    """ollama_chat/: chat, stream."""
    return _chat(site, "ollama_chat")


@check
def ollama_tools(site: Site) -> str:
    """ollama_chat/: tools."""
    return _tools(site, "ollama_chat")


@check
def ollama_picture(site: Site) -> str:
    """ollama_chat/: picture."""
    parts = [
        {"type": "text", "text": "What colour is it?"},
        {"type": "image_url", "image_url": {"url": data_url()}},
    ]
    reply = _ask(site, "ollama_chat", parts)
    assert reply.usage.prompt_tokens > SEEN_TOKENS, reply.usage
    return str(reply.choices[0].message.content)


@check
def ollama_format(site: Site) -> None:
    """ollama_chat/: response_format."""
    form = {"type": "json_schema", "json_schema": {"name": "c", "schema": SCHEMA}}
    reply = _ask(site, "ollama_chat", "Red, in JSON.", response_format=form, max_tokens=300)
    assert json.loads(reply.choices[0].message.content)["colour"]
