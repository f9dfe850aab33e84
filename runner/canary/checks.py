"""What an engine is asked, feature by feature, and what its answers have to be.

A check returns where all is well, and raises `Fault` (or `Absent`) with a line that says why not.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from runner.base.errors import SteprunError
from runner.canary import meaning, model, resuming
from runner.canary.questions import Fault, Talk, Tokens, picture
from runner.chat.wire import EFFORTS, Message, Picture
from runner.engine.installed.stamp import Kind

TOKENS: Final = 32  # of an answer that is compared with another
LONG: Final = 4096  # tokens of a long prompt; the model's window is 512
BEYOND: Final = 288  # tokens of an answer that take the window past its beginning
SLOT: Final = 600  # tokens of a prompt that is kept: more than a window, too


@dataclass(frozen=True, slots=True)
class Start:
    """How an engine is started. `threads` 0: as many as the machine has cores.

    `trained`: with the model that ships, which means what it says, else with random weights.
    `spare`: with a second slot over the same cache. `again`: after one that was started like it.
    """

    threads: int = 0
    trained: bool = False
    projector: bool = False
    mtp: bool = False
    spare: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One check of a feature. `needs`: the flags without which the engine has no such thing."""

    feature: str
    start: Start
    check: Callable[[Talk], Awaitable[None]]
    needs: tuple[str, ...] = ()


# --- text


async def text(talk: Talk) -> None:
    """Ask for text: it is in the model's words, and twice the same."""
    answer = await talk.chat(model.PROMPTS[0], model.ANSWER_TOKENS)
    _sensible(answer.text)
    first, second = [await talk.tokens(model.PROMPTS[0], TOKENS) for _ in range(2)]
    if not first.same(second):
        raise Fault(f"The same prompt gets two answers: {_differ(first, second)}.")


async def thinking(talk: Talk) -> None:
    """Ask with each effort: it reaches the model, and thinking and text are told apart."""
    plain = await talk.tokens(model.PROMPTS[0], 1)
    for effort in EFFORTS:
        answer = await talk.chat(model.PROMPTS[0], model.ANSWER_TOKENS, effort=effort)
        if "think>" in answer.text + answer.thinking:
            raise Fault(
                f"At effort {effort} a thinking tag is left in the answer: {answer.text[:60]!r}."
            )
        if not answer.thinking.strip():
            raise Fault(f"At effort {effort} thinking is not separated from the answer.")
        _sensible(answer.text)
        asked = await talk.tokens(model.PROMPTS[0], 1, effort=effort)
        if asked.prompt <= plain.prompt:
            raise Fault(f"The effort {effort} does not reach the model: the prompt is unchanged.")


# --- pictures

SMALL: Final = (300, 200)  # seen at once
LARGE: Final = (900, 600)  # seen at once, and in two crops


def _red() -> Picture:
    return picture(*SMALL, "red", "yellow")


async def one_picture(talk: Talk) -> None:
    """Show a picture: it costs what steprun says, and another one has another answer."""
    red, blue = _red(), picture(*SMALL, "blue", "black")
    answers = [await _see(talk, [each]) for each in (red, blue)]
    if answers[0].tokens == answers[1].tokens:
        raise Fault("Two different pictures get the same answer: the engine ignores them.")


async def two_pictures(talk: Talk) -> None:
    """Show two in one question, one of them large enough to be cut into crops."""
    await _see(talk, [_red(), picture(*LARGE, "green", "white")])


async def _see(talk: Talk, pictures: Sequence[Picture]) -> Tokens:
    plain = await talk.tokens(model.PROMPTS[0], 1)
    seen = await talk.tokens(_shown(pictures), TOKENS)
    costs, due = seen.prompt - plain.prompt, sum(each.tokens for each in pictures)
    if costs != due:
        sizes = " and ".join(f"{each.width} x {each.height}" for each in pictures)
        raise Fault(f"{sizes} px cost {costs} tokens; Step's own processor counts {due}.")
    _sensible(seen.text)
    return seen


def _shown(pictures: Sequence[Picture]) -> list[Message]:
    return [Message("user", model.PROMPTS[0], tuple(pictures))]


# --- tools

_TOOLS: Final = {"get_weather": "city", "find_file": "name"}


async def tools(talk: Talk) -> None:
    """Require a call, then several: each has a tool's name and arguments in JSON."""
    for several in (False, True):
        fields: dict[str, Any] = {"tools": [_tool(*each) for each in _TOOLS.items()]}
        if talk.kind is Kind.PYTHON:
            fields["grammar"] = model.call_grammar(2 if several else 1)
        else:
            # Without an end the model calls on and on, and the last call is cut short.
            fields |= {"tool_choice": "required", "parallel_tool_calls": several}
            fields |= {"ignore_eos": True} if several else {}
        answer = await talk.chat(model.PROMPTS[0], model.CALL_TOKENS, extra=fields)
        if not answer.calls:
            raise Fault(f"A tool call was required, but none was made: {answer.text[:60]!r}.")
        if several and len(answer.calls) < 2:
            raise Fault("Parallel tool calls were allowed, but only one was returned.")
        for call in answer.calls[: 2 if several else None]:
            if call.name not in _TOOLS:
                raise Fault(f"It calls {call.name[:40]!r}, which was not offered.")
            if not isinstance(_arguments(call.arguments).get(_TOOLS[call.name]), str):
                raise Fault(f"It calls {call.name} with {call.arguments[:60]!r}.")


def _tool(name: str, argument: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {argument: {"type": "string"}},
        "required": [argument],
    }
    function = {"name": name, "description": "For a test", "parameters": schema}
    return {"type": "function", "function": function}


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# --- long prompts, and what is kept of them


async def long_prompt(talk: Talk) -> None:
    """Ask with many windows: the answer is the same cold and out of the cache.

    The cold answer is longer than a window, so that the way back leads over a checkpoint.
    """
    asked = [Message("user", model.long_text(LONG))]
    cold = await talk.tokens(asked, BEYOND, cache_prompt=False)
    if cold.prompt < LONG:
        raise Fault(f"A prompt of {LONG} tokens counts as {cold.prompt}.")
    _sensible(cold.text)
    again = await talk.tokens(asked, TOKENS)
    if not cold.first(TOKENS).same(again.first(TOKENS)):
        raise Fault(f"With the prompt cached the answer differs: {_differ(cold, again)}.")
    further = [Message("assistant", model.SENTENCE), Message("user", model.PROMPTS[0])]
    later = await talk.tokens([*asked, *further], 1)
    if talk.kind is not Kind.PYTHON and min(again.cached, later.cached) < LONG // 2:
        raise Fault(f"Most of {later.prompt} cached tokens are processed again.")


async def long_word(talk: Talk) -> None:
    """Ask with a word that overruns a usual stack: answered or refused, the next one is answered.

    It does not fit into the context, so that a sound engine refuses it.
    """
    with suppress(SteprunError):
        await talk.tokens(model.LONG_WORD, 1)
    _sensible((await talk.chat(model.PROMPTS[0], model.ANSWER_TOKENS)).text)


async def slots(talk: Talk) -> None:
    """Save a slot, clear it and restore it: what it held is there again."""
    asked = model.long_text(SLOT)
    before = await talk.tokens(asked, TOKENS, cache_prompt=False)
    for action in ("save", "erase", "restore"):
        await talk.post(f"/slots/0?action={action}", {"filename": "canary.bin"})
    after = await talk.tokens(asked, TOKENS)
    if not before.same(after):
        raise Fault(f"After a slot is restored the answer differs: {_differ(before, after)}.")
    if after.cached < after.prompt // 2:
        raise Fault(
            f"After a slot is restored all {after.prompt} prompt tokens are processed again."
        )


# --- draft heads


async def without_heads(talk: Talk, *, seeing: bool = False) -> None:
    """Keep the answers that draft heads must not change; `seeing`: those to a picture."""
    talk.seen[seeing] = await _answers(talk, seeing=seeing)


async def with_heads(talk: Talk, *, seeing: bool = False) -> None:
    """Ask the same with draft heads: they draft, and the answers stay the same."""
    answers = await _answers(talk, seeing=seeing)
    for without, with_ in zip(talk.seen[seeing], answers, strict=True):
        if not without.same(with_):
            raise Fault(f"With draft heads the answer differs: {_differ(without, with_)}.")
    if not any(answer.drafted for answer in answers):
        raise Fault("The draft heads are loaded but draft nothing.")


async def _answers(talk: Talk, *, seeing: bool) -> list[Tokens]:
    asked = [_shown([_red()])] if seeing else model.PROMPTS
    return [await talk.tokens(each, TOKENS, cache_prompt=False) for each in asked]


# --- describing what is wrong


def _sensible(answer: str) -> None:
    if not answer.strip():
        raise Fault("The answer is empty.")
    if not model.sensible(answer):
        raise Fault(f"The answer makes no sense: {answer[:60]!r}.")


def _differ(first: Tokens, second: Tokens) -> str:
    """Quote two answers from where they part."""
    pairs = enumerate(zip(first.tokens, second.tokens, strict=False))
    at = next((n for n, (a, b) in pairs if a != b), min(len(first.tokens), len(second.tokens)))
    ours, theirs = ("".join(each.tokens[at : at + 4]) for each in (first, second))
    return f"{ours!r} and {theirs!r} at token {at + 1}"


ONE, TWO, SEEING = Start(threads=1), Start(threads=2), Start(projector=True)
DRAFTING, BOTH = Start(mtp=True), Start(projector=True, mtp=True)
RESUMING, RESUMED = (Start(projector=True, spare=True, again=again) for again in (False, True))
DRAFTED, REDRAFTED = (Start(mtp=True, spare=True, again=again) for again in (False, True))
MEANING = Start(projector=True, trained=True)
GUESSING, SEEING_GUESSES = replace(DRAFTING, trained=True), replace(BOTH, trained=True)
_SEE, _DRAFT = ("--mmproj",), ("--spec-type", "--spec-draft-model")
_SAVE, _SHARE = ("--slot-save-path",), ("--kv-unified",)
# In the order in which they are asked; those with the same start share an engine.
STEPS: Final = (
    Step("text", ONE, text),
    Step("threads", TWO, text),
    Step("mtp", TWO, without_heads, _DRAFT),
    Step("threads", SEEING, text),
    Step("picture", SEEING, one_picture, _SEE),
    Step("two_pictures", SEEING, two_pictures, _SEE),
    Step("mtp_picture", SEEING, partial(without_heads, seeing=True), _SEE + _DRAFT),
    Step("thinking", SEEING, thinking),
    Step("tools", SEEING, tools),
    Step("long_prompt", SEEING, long_prompt),
    Step("slots", SEEING, slots, _SAVE),
    Step("long_word", SEEING, long_word),
    Step("spare_slot", RESUMING, resuming.spare_slot, _SHARE),
    Step("resume_turn", RESUMING, resuming.next_turn, _SAVE),
    Step("resume_restart", RESUMING, resuming.before_restart, _SAVE),
    Step("resume_picture", RESUMING, resuming.picture_before, _SAVE + _SEE),
    Step("resume_restart", RESUMED, resuming.after_restart, _SAVE),
    Step("resume_picture", RESUMED, resuming.picture_after, _SAVE + _SEE),
    Step("mtp", DRAFTING, with_heads, _DRAFT),
    Step("mtp_picture", BOTH, partial(with_heads, seeing=True), _SEE + _DRAFT),
    Step("resume_mtp", DRAFTED, resuming.heads_before, _SAVE + _DRAFT),
    Step("resume_mtp", REDRAFTED, resuming.heads_after, _SAVE + _DRAFT),
    # What it means: only where the same with random weights passes.
    Step("text", MEANING, meaning.text),
    Step("thinking", MEANING, meaning.thinking),
    Step("tools", MEANING, meaning.tools),
    Step("picture", MEANING, meaning.picture, _SEE),
    Step("picture", MEANING, meaning.sureness, _SEE),
    Step("two_pictures", MEANING, meaning.two_pictures, _SEE),
    Step("mtp", GUESSING, meaning.heads, _DRAFT),
    Step("mtp_picture", SEEING_GUESSES, partial(meaning.heads, seeing=True), _SEE + _DRAFT),
)
