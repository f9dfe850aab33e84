"""pydantic-ai, on openai (chat and responses) and anthropic."""

import asyncio
from typing import Literal

from anthropic import AsyncAnthropic
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from clients.site import WEATHER, Site, check, picture


class Tint(BaseModel):
    """A colour."""

    colour: Literal["red", "blue"]


# Arguments of a Step's tool calls keep to no enum.
class Words(BaseModel):
    """A colour."""

    colour: str


SETTINGS: dict[str, int] = {"max_tokens": 300}


def _chat(site: Site) -> Model:
    return OpenAIChatModel(site.model, provider=OpenAIProvider(base_url=site.v1, api_key=site.key))


def _run(model: Model, prompt: object = "Hello", **options: object) -> object:
    return Agent(model, model_settings=SETTINGS, retries=2, **options).run_sync(prompt).output


@check
def run(site: Site) -> str:
    """openai: run."""
    return str(_run(_chat(site)))


@check
def stream(site: Site) -> None:
    """openai: run_stream."""

    async def ask() -> int:
        async with Agent(_chat(site), model_settings=SETTINGS).run_stream("Hello") as result:
            return len([text async for text in result.stream_text(delta=True)])

    assert asyncio.run(ask()) > 0


@check
def tools(site: Site) -> str:
    """openai: a tool, called and answered."""
    calls: list[str] = []

    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        calls.append(city)
        return "sunny"

    _run(_chat(site), WEATHER, tools=[get_weather])
    return str(calls) if calls else "the model made no call"


@check
def output_tool(site: Site) -> str:
    """openai: output_type through a tool."""
    return str(_run(_chat(site), "Red.", output_type=Words))


@check
def output_native(site: Site) -> str:
    """openai: output_type through a JSON schema."""
    return str(_run(_chat(site), "Red.", output_type=NativeOutput(Tint)))


@check
def image(site: Site) -> str:
    """openai: picture."""
    parts = ["What colour is it?", BinaryContent(picture(), media_type="image/png")]
    return str(_run(_chat(site), parts))


@check
def responses(site: Site) -> str:
    """openai: the Responses API."""
    provider = OpenAIProvider(base_url=site.v1, api_key=site.key)
    return str(_run(OpenAIResponsesModel(site.model, provider=provider)))


@check
def through_anthropic(site: Site) -> str:
    """anthropic: run."""
    client = AsyncAnthropic(base_url=site.url, api_key=site.key)
    provider = AnthropicProvider(anthropic_client=client)
    return str(_run(AnthropicModel(site.model, provider=provider)))
