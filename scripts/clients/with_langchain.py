"""langchain-openai, langchain-anthropic and langchain-ollama."""

from typing import Any, Literal

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import tool
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from clients.site import WEATHER, Site, check, data_url


class Shade(BaseModel):
    """A colour."""

    colour: Literal["red", "blue"]


@tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


def _openai(site: Site, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=site.model,
        base_url=site.v1,
        api_key=site.key,
        max_retries=0,
        max_tokens=300,
        **options,
    )


def _anthropic(site: Site) -> ChatAnthropic:
    return ChatAnthropic(
        model=site.model, base_url=site.url, api_key=site.key, max_retries=0, max_tokens=300
    )


def _ollama(site: Site) -> ChatOllama:
    return ChatOllama(
        model=site.model,
        base_url=site.url,
        num_predict=300,
        validate_model_on_init=True,
        client_kwargs={"headers": {"Authorization": f"Bearer {site.key}"}},
    )


def _talk(model: BaseChatModel) -> None:
    reply = model.invoke("Hello")
    assert reply.usage_metadata
    assert len(list(model.stream("Hello"))) > 1


def _tools(model: BaseChatModel, **options: Any) -> str:
    reply: Any = model.bind_tools([get_weather], **options).invoke(WEATHER)
    if not reply.tool_calls:
        assert not options, "no call, though one is required"
        return "the model made no call"
    return str(reply.tool_calls[0]["args"])


def _picture(model: BaseChatModel) -> str:
    parts: list[Any] = [
        {"type": "text", "text": "What colour is it?"},
        {"type": "image_url", "image_url": {"url": data_url()}},
    ]
    reply = model.invoke([{"role": "user", "content": parts}])
    assert reply.usage_metadata
    assert reply.usage_metadata["input_tokens"] > 100, reply.usage_metadata
    return str(reply.content)


@check
def openai_talk(site: Site) -> None:
    """openai: invoke, stream."""
    _talk(_openai(site))


@check
def openai_tools(site: Site) -> str:
    """openai: bind_tools, required."""
    return _tools(_openai(site), tool_choice="required")


@check
def openai_structured(site: Site) -> None:
    """openai: with_structured_output."""
    model = _openai(site).with_structured_output(Shade, method="json_schema")
    assert isinstance(model.invoke("Red, in JSON."), Shade)


@check
def openai_responses(site: Site) -> None:
    """openai: the Responses API."""
    _talk(_openai(site, use_responses_api=True))


@check
def openai_picture(site: Site) -> str:
    """openai: picture."""
    return _picture(_openai(site))


@check
def anthropic_talk(site: Site) -> None:
    """anthropic: invoke, stream."""
    _talk(_anthropic(site))


@check
def anthropic_tools(site: Site) -> str:
    """anthropic: bind_tools, any."""
    return _tools(_anthropic(site), tool_choice="any")


@check
def anthropic_structured(site: Site) -> None:
    """anthropic: with_structured_output (a named tool)."""
    assert isinstance(_anthropic(site).with_structured_output(Shade).invoke("Red."), Shade)


@check
def ollama_talk(site: Site) -> None:
    """ollama: invoke, stream, the model's name checked."""
    _talk(_ollama(site))


@check
def ollama_tools(site: Site) -> str:
    """ollama: bind_tools."""
    return _tools(_ollama(site))


@check
def ollama_structured(site: Site) -> None:
    """ollama: with_structured_output."""
    assert isinstance(_ollama(site).with_structured_output(Shade).invoke("Red."), Shade)


@check
def ollama_picture(site: Site) -> str:
    """ollama: picture."""
    return _picture(_ollama(site))
