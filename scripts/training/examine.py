"""Asks an engine what `world.evaluation` asks, through its HTTP API, and counts what is right.

Nothing in this module needs PyTorch. Answers are greedy, so that the same files give the same
scores on the same engine.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from runner.engine.process.flags import FLAGS
from runner.engine.process.supervisor import EngineProcess
from runner.plan.launch import EngineFiles, Settings, launch
from training import drafting
from training.engine import PROGRAM
from training.world import evaluation, painting, template
from training.world.evaluation import Question

CONTEXT = 4096
LONGEST = 700
"""Tokens of an answer: the longest that the world has take half of that."""


@dataclass(frozen=True)
class Score:
    """How many of how many were right; `mean` instead where it is a length in characters."""

    name: str
    right: int
    asked: int
    mean: float | None = None

    def __str__(self) -> str:
        """Return a line of a table."""
        if self.mean is not None:
            return f"{self.name:32} {self.mean:8.1f} characters of {self.asked}"
        return f"{self.name:32} {self.right:4} of {self.asked:4}  {self.right / self.asked:6.1%}"


@dataclass(frozen=True)
class Reply:
    """One answer; `calls` are (name, arguments), `broken` those whose arguments are not JSON."""

    thinking: str
    text: str
    calls: tuple[tuple[str, dict[str, str]], ...]
    broken: int
    timings: dict[str, Any]

    @property
    def is_parsed(self) -> bool:
        """Tell whether thinking was told apart from the answer, and no tag is left in either."""
        both = self.thinking + self.text
        return bool(self.thinking.strip()) and not any(tag in both for tag in _TAGS)


_TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_end|>")


class Examiner:
    """Asks one server; `log`: the path of the engine's log."""

    def __init__(self, base_url: str, headers: dict[str, str], log: Path = Path()) -> None:
        """Connect to a server that is ready."""
        self.log = log
        self._http = httpx2.AsyncClient(
            base_url=base_url, headers=headers, timeout=600, trust_env=False
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def ask(self, question: Question, steps: int = 0) -> Reply:
        """Ask a question, after the first `steps` of its steps."""
        body: dict[str, Any] = {
            "messages": [_painted(turn) for turn in template.messages(question.exchange, steps)],
            "max_tokens": LONGEST,
            "temperature": 0,
        }
        if question.effort:
            body["chat_template_kwargs"] = {"reasoning_effort": question.effort}
        if question.tools:
            body["tools"] = list(question.tools)
        reply = await self._http.post("/v1/chat/completions", json=body)
        answer = reply.raise_for_status().json()
        message = answer["choices"][0]["message"]
        calls, broken = [], 0
        for call in message.get("tool_calls") or ():
            try:
                arguments = json.loads(call["function"]["arguments"])
            except ValueError:
                broken += 1
                continue
            calls.append((call["function"]["name"], arguments))
        return Reply(
            message.get("reasoning_content") or "",
            message.get("content") or "",
            tuple(calls),
            broken,
            answer.get("timings") or {},
        )


async def pictures(examiner: Examiner, number: int) -> list[Score]:
    """Score answers about pictures by what was asked, and again with the wrong pictures."""
    own = await _answered(examiner, evaluation.about_pictures(number), "")
    wrong = await _answered(examiner, evaluation.with_wrong_pictures(number), "wrong picture: ")
    return [*own, *wrong]


async def _answered(examiner: Examiner, asked: Iterable[Question], prefix: str) -> list[Score]:
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for question in asked:
        found[question.kind].append(question.is_right((await examiner.ask(question)).text))
    return [_score(prefix + kind, rights) for kind, rights in found.items()]


async def calling(examiner: Examiner, number: int) -> list[Score]:
    """Score calls of `get_weather` (parsed, right, parallel) and what is made of their results."""
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for question in evaluation.weather(number):
        wanted = len(question.exchange.steps[0].calls)
        reply = await examiner.ask(question)
        found["calls parsed"].append(len(reply.calls) == wanted and not reply.broken)
        right = question.is_called(reply.calls)
        found["right arguments"].append(right)
        if wanted > 1:
            found["right arguments, parallel"].append(right)
        after = await examiner.ask(question, 1)
        found["results used"].append(question.is_right(after.text))
    return [_score(name, rights) for name, rights in found.items()]


async def zooming(examiner: Examiner, number: int) -> list[Score]:
    """Score calls of `zoom`, and whether the enlarged picture is then read."""
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for question in evaluation.zooms(number):
        reply = await examiner.ask(question)
        found["zoom called"].append(question.is_called(reply.calls))
        after = await examiner.ask(question, 1)
        found["small number read"].append(question.is_right(after.text))
    return [_score(name, rights) for name, rights in found.items()]


async def thinking(examiner: Examiner, number: int) -> list[Score]:
    """Score whether thinking is told apart, and measure its length at each effort."""
    parsed: list[bool] = []
    lengths: defaultdict[str, list[int]] = defaultdict(list)
    for question in evaluation.thinking(number):
        reply = await examiner.ask(question)
        parsed.append(reply.is_parsed)
        lengths[question.effort or "none"].append(len(reply.thinking))
    means = [
        Score(f"thinking, {effort}", 0, len(found), sum(found) / len(found))
        for effort, found in lengths.items()
    ]
    return [_score("thinking parsed", parsed), *means]


SUBJECTS = {
    "pictures": pictures,
    "calling": calling,
    "zooming": zooming,
    "thinking": thinking,
}
DRAFTING = "drafting"
"""The subject that takes an engine of its own: what the MTP heads guess."""


@asynccontextmanager
async def examined(
    files: EngineFiles, program: Sequence[str] = PROGRAM, *, drafts: int = 0
) -> AsyncIterator[Examiner]:
    """Run an engine on one thread with an F16 cache; `drafts`: tokens drafted a step."""
    settings = Settings(CONTEXT, "f16", threads=1, repack=False, mtp_tokens=drafts)
    async with EngineProcess(program, launch(files, settings, frozenset(FLAGS))) as process:
        await process.wait_ready()
        endpoint = process.endpoint
        examiner = Examiner(endpoint.base_url, endpoint.headers(), process.log_path)
        try:
            yield examiner
        finally:
            await examiner.close()


async def examine(
    weights: Path,
    projector: Path,
    subjects: Sequence[str] = tuple(SUBJECTS),
    number: int = 200,
    program: Sequence[str] = PROGRAM,
) -> AsyncIterator[Score | drafting.Drafts]:
    """Yield the scores of some files, subject by subject; `DRAFTING` is one more, asked last."""
    async with examined(EngineFiles(weights, projector), program) as examiner:
        for subject in subjects:
            if subject != DRAFTING:
                for score in await SUBJECTS[subject](examiner, number):
                    yield score
    if DRAFTING in subjects:
        files = EngineFiles(weights, projector, drafting.beside(weights))
        yield await drafting.drafting(files, number, program)


def _score(name: str, rights: Sequence[bool]) -> Score:
    return Score(name, sum(rights), len(rights))


def _painted(turn: dict[str, Any]) -> dict[str, Any]:
    """Put the pixels of its scenes into a turn."""
    content = turn["content"]
    if isinstance(content, str):
        return turn
    return {**turn, "content": [_part(part) for part in content]}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "image":
        return part
    coded = base64.b64encode(painting.png(part["scene"])).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{coded}"}}
