"""What the model is and can do, as Ollama tells it. Pure.

Source of the fields: api/types.go of ollama/ollama (ListModelResponse, ProcessModelResponse,
ShowResponse), as of 2026-08-21.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from runner.chat.untrusted import mapping
from runner.gateway.ollama.clock import stamp
from runner.gateway.settings import Settings

# The model stays loaded. Clients that show this take a moment so far away for "for ever".
_NEVER: Final = "9999-12-31T23:59:59Z"


def tags(settings: Settings, started: float) -> dict[str, Any]:
    """Return what /api/tags lists: the one model that is served. `started`: in s since 1970."""
    return {"models": [{**_named(settings), "modified_at": stamp(started)}]}


def running(settings: Settings, *, ready: bool) -> dict[str, Any]:
    """Return what /api/ps lists: the model, once it is loaded."""
    entry = {
        **_named(settings),
        "expires_at": _NEVER,
        "size_vram": settings.weights_bytes if settings.on_gpu else 0,
        "context_length": settings.context,
    }
    return {"models": [entry] if ready else []}


def shown(settings: Settings, started: float, props: Mapping[str, Any]) -> dict[str, Any]:
    """Return what /api/show tells. `props`: the engine's /props."""
    template = props.get("chat_template")
    arch = settings.arch
    return {
        "modelfile": f"# Served by steprun.\nFROM {settings.model}\n",
        "parameters": "",
        "template": template if isinstance(template, str) else "",
        "details": _details(settings),
        "model_info": {
            "general.architecture": arch,
            "general.basename": settings.model,
            f"{arch}.context_length": settings.context,
            f"{arch}.embedding_length": settings.embedding,
        },
        "capabilities": _capabilities(settings, props),
        "modified_at": stamp(started),
    }


def _capabilities(settings: Settings, props: Mapping[str, Any]) -> list[str]:
    """Return what the model can do; whether it thinks and calls tools its template says."""
    can = mapping(props.get("chat_template_caps"))
    thinks = "<think>" in str(props.get("chat_template", ""))
    found = {
        "completion": True,
        "vision": settings.sees,
        "tools": can.get("supports_tools") is True or can.get("supports_tool_calls") is True,
        "thinking": thinks or can.get("supports_reasoning_effort") is True,
    }
    return [name for name, has in found.items() if has]


def _named(settings: Settings) -> dict[str, Any]:
    """Return what every list says of the model. The digest only tells models apart."""
    identity = f"{settings.model}:{settings.quant}:{settings.weights_bytes}"
    return {
        "name": settings.model,
        "model": settings.model,
        "size": settings.weights_bytes,
        "digest": hashlib.sha256(identity.encode()).hexdigest(),
        "details": _details(settings),
    }


def _details(settings: Settings) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": settings.arch,
        "families": [settings.arch],
        "parameter_size": "",
        "quantization_level": settings.quant,
    }
