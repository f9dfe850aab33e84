"""llm, the command."""

import json
import tempfile
from pathlib import Path

from clients.programs import output
from clients.site import Site, check, picture


def _run(site: Site, *arguments: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        model = {
            "model_id": "step",
            "model_name": site.model,
            "api_base": site.v1,
            "api_key_name": "step",
            "vision": True,
            "supports_schema": True,
            "supports_tools": True,
        }
        # JSON is YAML.
        (home / "extra-openai-models.yaml").write_text(json.dumps([model]), "utf-8")
        (home / "keys.json").write_text(json.dumps({"step": site.key}), "utf-8")
        (home / "picture.png").write_bytes(picture())
        return output(
            home, "llm", "-m", "step", "-o", "max_tokens", "300", *arguments, LLM_USER_PATH=folder
        )


@check
def prompt(site: Site) -> str:
    """A prompt, streamed."""
    answer = _run(site, "Hello")
    assert answer.strip()
    return answer


@check
def whole(site: Site) -> None:
    """A prompt, not streamed."""
    assert _run(site, "--no-stream", "Hello").strip()


@check
def schema(site: Site) -> str:
    """A schema."""
    return str(json.loads(_run(site, "--schema", "age int", "How old? In JSON."))["age"])


@check
def attachment(site: Site) -> str:
    """An attachment."""
    return _run(site, "-a", "picture.png", "What colour is it?")


@check
def tool(site: Site) -> str:
    """A tool."""
    return _run(site, "-T", "llm_version", "Which version of llm is it?")
