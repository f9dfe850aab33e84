"""Coding agents, as their recorded requests have them, in a conversation of some turns. Pure.

The recorded requests are in tests/data/gateway/requests. Their system prompts are lengthened, and
each turn adds what the agent would: the model's answer, a call of a tool with its result, and the
next question.
"""

import copy
import json
import random
from pathlib import Path
from typing import Any, Final, Protocol

from kv_checks.asking import Ask

REQUESTS: Final = Path(__file__).resolve().parents[2] / "tests" / "data" / "gateway" / "requests"
GREEDY: Final = {"max_tokens": 24, "temperature": 0}  # or two days differ by their dice
_PROSE: Final = (
    "the file should be read before it is changed and every test has to pass on a clean checkout "
    "when a tool returns an error say what happened and try another way never guess a path prefer "
    "small edits keep names short explain the result in one sentence then stop"
)


class Agent(Protocol):
    """A client with a conversation. `turn`: the one that is asked now, from 1."""

    name: str
    turn: int

    def ask(self) -> Ask:
        """Return the request of this turn."""

    def title(self) -> Ask:
        """Return a request beside the conversation."""

    def answered(self, text: str) -> None:
        """Take the answer into the conversation, and go on to the next turn."""


def recorded(name: str) -> dict[str, Any]:
    """Return a recorded request."""
    document: dict[str, Any] = json.loads((REQUESTS / f"{name}.json").read_bytes())
    return document


def prose(characters: int, seed: int) -> str:
    """Return a text of about so many characters, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    words, lines, size = _PROSE.split(), [], 0
    while size < characters:
        line = " ".join(rng.choices(words, k=14)).capitalize() + "."
        lines.append(line)
        size += len(line) + 1
    return "\n".join(lines)


class ClaudeCode:
    """Speaks Messages. The first block of its system prompt is another one in each request."""

    name = "Claude Code"

    def __init__(self, characters: int, seed: int) -> None:
        request = recorded("claude-code")
        self._path = request["path"]
        self._body = request["body"]
        self._body |= GREEDY
        self._body["system"][-1]["text"] += "\n" + prose(characters, seed)
        self._seed = seed
        self.turn = 1

    def ask(self) -> Ask:
        """Return the request of this turn."""
        body = copy.deepcopy(self._body)
        body["system"][0]["text"] = _billing(self._seed * 1000 + self.turn)
        return Ask("claude-cli/2.1.197", self._path, body)

    def title(self) -> Ask:
        """Ask for a title, as text: not every engine takes its form of the answer."""
        request = recorded("claude-code-title")
        body = request["body"]
        body |= GREEDY
        body["output_config"].pop("format", None)
        body["system"][0]["text"] = _billing(self._seed * 1000 + 500 + self.turn)
        body["messages"][0]["content"][0]["text"] += f" Turn {self.turn}."
        return Ask("claude-cli/2.1.197", self._path, body)

    def answered(self, text: str) -> None:
        """Take the answer into the conversation; every other turn a tool is called after it."""
        turn, self.turn = self.turn, self.turn + 1
        said = [{"type": "text", "text": text or "Done."}]
        if turn % 2:
            call = {"type": "tool_use", "id": f"toolu_{turn}", "name": "Bash"}
            said.append({**call, "input": {"command": f"cat part-{turn}.txt"}})  # type: ignore[dict-item]
            result = {
                "type": "tool_result",
                "tool_use_id": f"toolu_{turn}",
                "content": prose(400, self._seed + turn),
            }
            reply: list[dict[str, Any]] = [result]
        else:
            reply = [{"type": "text", "text": f"Now step {turn + 1}: what is next?"}]
        self._body["messages"] += [
            {"role": "assistant", "content": said},
            {"role": "user", "content": reply},
        ]


class OpenCode:
    """Speaks chat completions."""

    name = "opencode"

    def __init__(self, characters: int, seed: int) -> None:
        request = recorded("opencode")
        self._path = request["path"]
        self._body = request["body"]
        self._body |= GREEDY
        self._body["messages"][0]["content"] += "\n" + prose(characters, seed)
        self._seed = seed
        self.turn = 1

    def ask(self) -> Ask:
        """Return the request of this turn."""
        return Ask("opencode/1.18.33", self._path, copy.deepcopy(self._body))

    def title(self) -> Ask:
        """Ask for a title."""
        request = recorded("opencode-title")
        body = request["body"]
        body |= GREEDY
        body["messages"][-1]["content"] = f'"Step {self.turn}"'
        return Ask("opencode/1.18.33", self._path, body)

    def answered(self, text: str) -> None:
        """Take the answer into the conversation; every other turn a tool is called after it."""
        turn, self.turn = self.turn, self.turn + 1
        said: dict[str, Any] = {"role": "assistant", "content": text or "Done."}
        if turn % 2:
            reply = {"role": "user", "content": f"Now step {turn + 1}: what is next?"}
        else:
            arguments = json.dumps({"filePath": f"/home/user/project/part-{turn}.txt"})
            function = {"name": "read", "arguments": arguments}
            said["tool_calls"] = [{"id": f"call_{turn}", "type": "function", "function": function}]
            reply = {
                "role": "tool",
                "tool_call_id": f"call_{turn}",
                "content": prose(400, self._seed + turn),
            }
        self._body["messages"] += [said, reply]


def _billing(number: int) -> str:
    """Return a header block as Claude Code sends it: its last digits differ in every request."""
    version = f"2.1.197.{number % 4096:03x}"
    return f"x-anthropic-billing-header: cc_version={version}; cc_entrypoint=cli; cch={number:05d};"
