"""The ollama package."""

import asyncio
import json
from typing import Any

import ollama

from clients.site import (
    SCHEMA,
    SEEN_TOKENS,
    TOOL,
    WEATHER,
    Site,
    check,
    picture,
    refused,
)


def _client(site: Site) -> ollama.Client:
    return ollama.Client(host=site.url, headers={"Authorization": f"Bearer {site.key}"})


def _ask(site: Site, content: str = "Hello", **options: Any) -> Any:
    options.setdefault("options", {"num_predict": 60})
    message = {"role": "user", "content": content, **options.pop("message", {})}
    return _client(site).chat(model=site.model, messages=[message], **options)


@check
def chat(site: Site) -> str:
    """Chat, with durations."""
    reply = _ask(site)
    assert reply.done_reason in {"stop", "length"}
    assert reply.eval_count
    assert reply.eval_duration
    return str(reply.message.content)


@check
def stream(site: Site) -> None:
    """Stream."""
    parts = list(_ask(site, stream=True))
    assert len(parts) > 2
    assert parts[-1].done


@check
def asynchronous(site: Site) -> None:
    """AsyncClient, streamed."""

    async def ask() -> int:
        client = ollama.AsyncClient(host=site.url, headers={"Authorization": f"Bearer {site.key}"})
        messages = [{"role": "user", "content": "Hello"}]
        parts = await client.chat(
            model=site.model, messages=messages, stream=True, options={"num_predict": 9}
        )
        return len([part async for part in parts])

    assert asyncio.run(ask()) > 1


@check
def think(site: Site) -> None:
    """think: true, false, high."""
    long = {"num_predict": 300}
    for value in (True, "high"):
        assert _ask(site, "What is 2+3?", think=value, options=long).message.thinking
    assert not _ask(site, "What is 2+3?", think=False, options=long).message.thinking


@check
def tools(site: Site) -> str:
    """Tools, and the result sent back."""

    def get_weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: the city
        """
        return f"sunny in {city}"

    messages: list[Any] = [{"role": "user", "content": WEATHER}]
    reply = _client(site).chat(
        model=site.model, messages=messages, tools=[get_weather], options={"num_predict": 300}
    )
    messages.append(reply.message)
    calls = list(reply.message.tool_calls or ())
    for call in calls:
        result = get_weather(**call.function.arguments)
        messages.append({"role": "tool", "tool_name": call.function.name, "content": result})
    again = _client(site).chat(model=site.model, messages=messages, options={"num_predict": 60})
    assert again.done
    return str([call.function.arguments for call in calls]) if calls else "the model made no call"


@check
def tools_stream(site: Site) -> str:
    """Tools, streamed."""
    parts = list(_ask(site, WEATHER, tools=[TOOL], stream=True, options={"num_predict": 300}))
    calls = [call for part in parts for call in part.message.tool_calls or ()]
    return str(calls[0].function.arguments) if calls else "the model made no call"


@check
def pictures(site: Site) -> str:
    """Pictures: PNG, WebP and GIF."""
    for kind in ("PNG", "WEBP", "GIF"):
        reply = _ask(site, "What colour is it?", message={"images": [picture(kind)]})
        assert reply.prompt_eval_count > SEEN_TOKENS, (kind, reply.prompt_eval_count)
    return str(reply.message.content)


@check
def formats(site: Site) -> str:
    """format: a schema, and json."""
    reply = _ask(site, "Red, in JSON.", format=SCHEMA, options={"num_predict": 300})
    assert json.loads(reply.message.content)["colour"]
    assert _ask(site, "Answer in JSON.", format="json").done
    return str(reply.message.content)


@check
def generate(site: Site) -> str:
    """generate: streamed, system, images, raw."""
    client = _client(site)
    short = {"num_predict": 60}
    assert list(client.generate(model=site.model, prompt="Hi", stream=True, options=short))
    assert client.generate(model=site.model, prompt="Hi", raw=True, options=short).response
    reply = client.generate(
        model=site.model, prompt="Hi", system="Be brief.", images=[picture()], options=short
    )
    assert reply.prompt_eval_count
    assert reply.prompt_eval_count > SEEN_TOKENS
    return str(reply.response)


@check
def load(site: Site) -> None:
    """generate: an empty prompt loads the model."""
    assert _client(site).generate(model=site.model).done_reason == "load"


@check
def options(site: Site) -> None:
    """Options: num_ctx, seed, top_k, stop, keep_alive."""
    given = {"num_predict": 5, "num_ctx": 4096, "seed": 1, "top_k": 5, "stop": ["zzz"]}
    assert _ask(site, options=given, keep_alive="5m").eval_count <= 5


@check
def listed(site: Site) -> str:
    """list, ps, show."""
    client = _client(site)
    (model,) = client.list().models
    (running,) = client.ps().models
    assert model.model == running.model == site.model
    shown = client.show(site.model)
    assert shown.capabilities
    return ", ".join(shown.capabilities)


@check
def pull(site: Site) -> None:
    """pull of the model that is served."""
    assert _client(site).pull(site.model).status == "success"
    assert list(_client(site).pull(site.model, stream=True))


@check
def pull_other(site: Site) -> None:
    """pull of another model."""
    refused(lambda: _client(site).pull("llama3"))


@check
def embed(site: Site) -> None:
    """embed."""
    refused(lambda: _client(site).embed(model=site.model, input="Hi"))


@check
def errors(site: Site) -> str:
    """A refusal is a ResponseError in words."""
    try:
        _ask(site, think="a lot")
    except ollama.ResponseError as error:
        assert error.status_code == 400
        return str(error)
    except ValueError as error:  # the package refuses it before it is sent
        return f"refused by the package: {str(error)[:60]}"
    raise AssertionError("It was answered.")
