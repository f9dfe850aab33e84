"""Ollama's API in front of an engine that speaks OpenAI's.

`requests` turns what its clients ask into the engine's own request, `answers` the engine's answer
into theirs while it arrives, and `own` answers what is about the model and needs no engine.
"""

from runner.gateway.ollama.own import GREETING, answer, greets
from runner.gateway.ollama.requests import READERS

__all__ = ["GREETING", "READERS", "answer", "greets"]
