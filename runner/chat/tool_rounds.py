"""Runs the tools that an answer calls, so that the model goes on with what they return.

A round is one request and the calls that it ended in. What goes wrong with a call is its result:
the model reads why, and may call again. All of it is bounded: a model that calls without end is
told that no more is run, and is then stopped.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any, Final

from runner.base.text import clean, clean_name
from runner.chat.events import Event, Finished, ToolsRefused, Usage
from runner.chat.inert import inert
from runner.chat.steps import StepKind, TurnStep, since_result, uses_of
from runner.chat.tools.toolbox import Call, Result, Tool
from runner.chat.tools.toolboxes import Toolboxes, no_such_tool
from runner.chat.turn import Turn, TurnState
from runner.chat.usage import with_earlier
from runner.chat.wire import Message, Options, Picture, arguments_of

# Judgements: an answer that looks closer takes two or three rounds of a call or two; an agent that
# reads files takes more.
ROUNDS: Final = 24
CALLS: Final = 8  # at once
FAILURES: Final = 3  # rounds in a row in which no call succeeded
RESULT_CHARACTERS: Final = 32_000  # about 8,000 tokens: a quarter of a context of 32,768
RESULT_PICTURES: Final = 4
ANSWER_PICTURES: Final = 24  # of all results of an answer
_EXCERPT: Final = 200  # characters of arguments that cannot be read
# Ends after which its calls may be cut short: they are not run.
_CUT: Final = frozenset({"length", "content_filter"})


class ToolRounds:
    """The rounds of one turn. Without tools there is one, and nothing is changed in it."""

    def __init__(self, turn: Turn, tools: Toolboxes | None = None) -> None:
        self._turn = turn
        self._tools = tools or Toolboxes()
        # As it is now, until the answer ends: tools stand at the top of the prompt.
        self._offered: Sequence[Tool] = self._tools.tools
        self._rounds = self._failures = 0
        self._limit = ""
        self._earlier: Usage | None = None
        self.go_on = False

    def options(self, options: Options) -> Options:
        """Return the options of a request, with the tools that are offered."""
        if not self._offered:
            return options
        return replace(options, extra={**options.extra, "tools": [*map(_offer, self._offered)]})

    async def watch(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """Yield the events of a request as those of the whole answer.

        Its end is none where calls are to be run: then `go_on` is true. Each event is to be
        applied to the turn before the next is asked for.
        """
        self.go_on = False
        async for event in events:
            match event:
                case Finished(reason) if self._offered and reason not in _CUT and self._calls():
                    self.go_on = not self._limit
                    if self.go_on:
                        self._turn.phase = TurnState.CALLING
                        self._earlier = self._turn.usage
                    else:
                        yield Finished(self._limit)
                case Usage():
                    yield with_earlier(self._earlier, event)
                case ToolsRefused():
                    self._tools.refused, self._offered = True, ()
                    yield event
                case _:
                    yield event

    async def run(self, messages: Sequence[Message]) -> None:
        """Run the calls of the latest round, one after the other; results become steps.

        `messages`: what was sent, for the pictures that the model has seen. Cancelling stops it;
        the results that there are by then stay.
        """
        turn, calls = self._turn, self._calls()
        _give_ids(calls, turn.steps)
        seen = [picture for message in messages for picture in message.pictures]
        self._rounds += 1
        refusal = self._refusal()
        failed = 0
        for number, step in enumerate(calls[: CALLS + 1]):
            began_at = time.monotonic()
            if refusal:
                result = Result(refusal, failed=True)
            elif number == CALLS:
                more = f"Not run, like all calls after it: {CALLS} calls at once is the most."
                result = Result(more, failed=True)
            else:
                result = self._bounded(await self._result(step, seen))
            failed += result.failed
            seen += result.pictures
            turn.steps.append(_step(step, result, began_at))
        self._failures = self._failures + 1 if failed >= min(len(calls), CALLS) else 0

    def _calls(self) -> list[TurnStep]:
        """Return the calls of the latest request."""
        steps = self._turn.steps
        return [step for step in steps[since_result(steps) :] if step.kind is StepKind.CALL]

    def _refusal(self) -> str:
        """Return why nothing is run any more, empty where it is."""
        if self._failures >= FAILURES:
            self._limit = "tool_failures"
            return "Not run: the calls before it have all failed. Answer without tools."
        if self._rounds > ROUNDS:
            self._limit = "tool_rounds"
            return (
                f"Not run: {ROUNDS} rounds of calls is the most for one answer. Answer with what "
                "you know, and say what is left to do."
            )
        return ""

    async def _result(self, step: TurnStep, seen: Sequence[Picture]) -> Result:
        if step.name not in {tool.name for tool in self._offered}:
            return no_such_tool(step.name, self._offered)
        if arguments_of(step.text) is None:
            given = clean_name(step.text, _EXCERPT)
            return Result(f"The arguments are not a JSON object: {given}", failed=True)
        try:
            return await self._tools.run(Call(step.call, step.name, step.text), seen)
        except Exception as error:  # noqa: BLE001 - a tool that breaks must not end the answer
            return Result(f"The tool failed ({type(error).__name__}).", failed=True)

    def _bounded(self, result: Result) -> Result:
        """Return a result with no more in it than a prompt can take, and what was left out."""
        text, notes = inert(clean(result.text)), []
        if (more := len(text) - RESULT_CHARACTERS) > 0:
            notes.append(f"{more:,} more characters were left out.")
        there_are = sum(len(use.result.pictures) for use in uses_of(self._turn.steps) if use.result)
        room = max(0, min(RESULT_PICTURES, ANSWER_PICTURES - there_are))
        if (more := len(result.pictures) - room) > 0:
            notes.append(f"{more} of its images were left out: there are too many.")
        text = "\n".join([text[:RESULT_CHARACTERS], *notes])
        return Result(text, tuple(result.pictures[:room]), result.failed)


def _offer(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}


def _step(call: TurnStep, result: Result, began_at: float) -> TurnStep:
    # The word in front tells the model, and whoever reads along: it is all that is saved of it.
    text = f"Error: {result.text}" if result.failed else result.text
    now = time.monotonic()
    return TurnStep(
        StepKind.RESULT,
        text,
        now - began_at,
        name=call.name,
        call=call.call,
        pictures=tuple(result.pictures),
        began_at=began_at,
    )


def _give_ids(calls: Sequence[TurnStep], steps: Sequence[TurnStep]) -> None:
    """Give each call an ID of its own: some servers send none, or the same with each request."""
    taken = {step.call for step in steps if step.kind is StepKind.RESULT}
    for number, call in enumerate(calls):
        if not call.call or call.call in taken:
            call.call = f"{call.call or 'call'}_{len(taken)}_{number}"
        taken.add(call.call)
