"""instructor, on openai and anthropic."""

from typing import Any, Literal

import anthropic
import instructor
import openai
from pydantic import BaseModel

from clients.site import Site, check


class Guess(BaseModel):
    """A colour."""

    colour: Literal["red", "blue"]


MESSAGES: Any = [{"role": "user", "content": "A colour: red."}]


def _openai(site: Site, mode: instructor.Mode) -> Guess:
    client = openai.OpenAI(base_url=site.v1, api_key=site.key, max_retries=0)
    return instructor.from_openai(client, mode=mode).chat.completions.create(
        model=site.model, messages=MESSAGES, response_model=Guess, max_retries=0, max_tokens=300
    )


@check
def tools(site: Site) -> str:
    """openai: a named tool."""
    return _openai(site, instructor.Mode.TOOLS).colour


@check
def schema(site: Site) -> str:
    """openai: JSON schema."""
    return _openai(site, instructor.Mode.JSON_SCHEMA).colour


@check
def through_anthropic(site: Site) -> str:
    """anthropic: a named tool."""
    client = anthropic.Anthropic(base_url=site.url, api_key=site.key, max_retries=0)
    made = instructor.from_anthropic(client).messages.create(
        model=site.model, messages=MESSAGES, response_model=Guess, max_retries=0, max_tokens=300
    )
    return made.colour
