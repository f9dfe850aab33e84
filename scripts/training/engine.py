"""Asks the embedded engine for log-probabilities, to compare PyTorch with.

Nothing in this module needs PyTorch.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import numpy.typing as npt
from gguf.constants import TokenType

from runner.engine.process.flags import FLAGS
from runner.engine.process.supervisor import EngineProcess
from runner.plan.launch import EngineFiles, Settings, launch
from runner.testbed.vocabulary import Vocabulary

PROGRAM = (sys.executable, "-m", "runner.engine.process.embedded")
CONTEXT = 4096
HEADS = 3


@dataclass(frozen=True)
class Continued:
    """What the engine wrote, greedily, and how likely it found every token.

    `tokens`: m ids; `log_probabilities` [m, vocabulary], of the token at each place. With drafts
    only those of the first are known.
    """

    tokens: tuple[int, ...]
    log_probabilities: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A token that an MTP head drafted, and its share among the ten likeliest."""

    token: int
    share: float


class Engine:
    """A running embedded engine.

    It writes only tokens of ASCII text: it reports no probabilities for half a character.
    """

    def __init__(self, process: EngineProcess, http: httpx2.AsyncClient, words: Vocabulary) -> None:
        self._process = process
        self._http = http
        self._vocabulary = len(words.tokens)
        kinds = zip(words.tokens, words.types, strict=True)
        self._forbidden = [
            place
            for place, (token, kind) in enumerate(kinds)
            if kind != TokenType.NORMAL or not (token.isascii() and token.isprintable())
        ]

    async def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text that has no begin token."""
        reply = await self._post("/tokenize", {"content": text, "add_special": False})
        return [int(token) for token in reply["tokens"]]

    async def resume(self, prompt: Sequence[int], count: int) -> Continued:
        """Write `count` tokens after a prompt of ids."""
        return await self._complete(list(prompt), count)

    async def resume_picture(
        self, before: str, picture: bytes, after: str, count: int
    ) -> Continued:
        """Write `count` tokens after a text with a picture in it; the begin token is added."""
        reply = await self._http.get(f"{self._process.endpoint.base_url}/props")
        marker = reply.raise_for_status().json()["media_marker"]
        prompt = {
            "prompt_string": f"{before}{marker}{after}",
            "multimodal_data": [base64.b64encode(picture).decode("ascii")],
        }
        return await self._complete(prompt, count)

    async def _complete(self, prompt: object, count: int) -> Continued:
        body = {
            "prompt": prompt,
            "n_predict": count,
            "n_probs": self._vocabulary,
            "post_sampling_probs": False,  # those of the logits, whatever may be written
            "logit_bias": [[token, False] for token in self._forbidden],
            "temperature": 0.0,
            "return_tokens": True,
            "cache_prompt": False,
        }
        reply = await self._post("/completion", body)
        places = reply["completion_probabilities"]
        found = np.full((len(places), self._vocabulary), np.nan)
        for row, place in zip(found, places, strict=True):
            for likely in place["top_logprobs"]:
                row[likely["id"]] = likely["logprob"]
        return Continued(tuple(int(token) for token in reply["tokens"]), found)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = await self._http.post(f"{self._process.endpoint.base_url}{path}", json=body)
        answer: dict[str, Any] = reply.raise_for_status().json()
        return answer

    def drafted(self) -> list[list[Candidate]]:
        """Return what the MTP heads drafted so far, round by round, from the engine's log."""
        log = self._process.log_path.read_text("utf-8", "replace")
        line = r"draft candidate +0, pos +(\d+): +(\d+) \( *([\d.]+)\)"
        rounds: list[list[Candidate]] = []
        for found in re.finditer(line, log):
            if found[1] == "0":
                rounds.append([])
            rounds[-1].append(Candidate(int(found[2]), float(found[3])))
        return rounds


@asynccontextmanager
async def running(
    weights: Path, words: Vocabulary, projector: Path | None = None, *, drafts: int = 0
) -> AsyncIterator[Engine]:
    """Run the embedded engine on one thread, with an F16 cache; `drafts`: tokens drafted a step."""
    settings = Settings(CONTEXT, "f16", threads=1, repack=False, mtp_tokens=drafts)
    spec = launch(EngineFiles(weights, projector), settings, frozenset(FLAGS))
    # Level 5 is the one that prints drafted tokens.
    argv = list(spec.argv)
    argv[argv.index("--verbosity") + 1] = "5"
    async with EngineProcess(PROGRAM, replace(spec, argv=tuple(argv))) as process:
        await process.wait_ready()
        headers = process.endpoint.headers()
        async with httpx2.AsyncClient(headers=headers, timeout=120) as http:
            yield Engine(process, http, words)
