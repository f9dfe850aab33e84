"""The list of models, which the gateway answers itself: also while the model is loading. Pure."""

from typing import Any, Final

from runner.gateway.refusal import Api, Refusal
from runner.gateway.settings import Settings

# Anthropic's clients want a date here, and nothing is known of when the model was made.
_CREATED: Final = "1970-01-01T00:00:00Z"


def listed(settings: Settings, api: Api) -> dict[str, Any]:
    """Return the models, in the shape of an API."""
    if api is Api.ANTHROPIC:
        name = settings.model
        return {
            "data": [_model(settings, api)],
            "has_more": False,
            "first_id": name,
            "last_id": name,
        }
    return {"object": "list", "data": [_model(settings, api)], "models": [_entry(settings)]}


def one(settings: Settings, name: str, api: Api) -> dict[str, Any]:
    """Return one model, in the shape of an API. Raises Refusal (404) for another name."""
    if name != settings.model:
        raise Refusal(
            404, f"There is no model named {name[:80]!r}; the one here is {settings.model!r}."
        )
    return _model(settings, api)


def _model(settings: Settings, api: Api) -> dict[str, Any]:
    """Return a model. `context_length` and `max_model_len`: as OpenRouter and vLLM name them."""
    if api is Api.ANTHROPIC:
        return {
            "type": "model",
            "id": settings.model,
            "display_name": settings.title or settings.model,
            "created_at": _CREATED,
            "max_input_tokens": settings.context,
        }
    return {
        "id": settings.model,
        "object": "model",
        "created": 0,
        "owned_by": "steprun",
        "name": settings.title or settings.model,
        "architecture": {"input_modalities": _reads(settings), "output_modalities": ["text"]},
        "context_length": settings.context,
        "max_model_len": settings.context,
        "meta": {"n_ctx": settings.context},
    }


def _entry(settings: Settings) -> dict[str, Any]:
    """Return a model as llama-server lists it a second time; its web page reads it there."""
    return {
        "name": settings.model,
        "model": settings.model,
        "type": "model",
        "capabilities": ["completion", *(["multimodal"] if settings.sees else [])],
        "details": {"format": "gguf", "quantization_level": settings.quant},
    }


def _reads(settings: Settings) -> list[str]:
    return ["text", *(["image"] if settings.sees else [])]
