"""aider, the command."""

import tempfile
from pathlib import Path

from clients.programs import output
from clients.site import Site, check


def _run(model: str, **variables: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return output(
            Path(folder),
            "aider",
            *("--model", model, "--no-git", "--yes-always", "--no-pretty", "--no-analytics"),
            *("--no-check-update", "--no-show-model-warnings", "--map-tokens", "0"),
            *("--no-show-release-notes", "--no-detect-urls", "--message", "Hello"),
            **variables,
        )


def _answered(printed: str) -> str:
    assert "Tokens:" in printed, printed[-300:]
    # Before that, it may say that it could not look up prices.
    assert "Error" not in printed.partition("Model:")[2], printed[-300:]
    return printed[-200:]


@check
def through_openai(site: Site) -> str:
    """openai/: a message."""
    return _answered(_run(f"openai/{site.model}", OPENAI_API_BASE=site.v1, OPENAI_API_KEY=site.key))


@check
def through_ollama(site: Site) -> str:
    """ollama_chat/: a message."""
    return _answered(
        _run(f"ollama_chat/{site.model}", OLLAMA_API_BASE=site.url, OLLAMA_API_KEY=site.key)
    )
