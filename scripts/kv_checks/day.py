"""A day of two coding agents in an hour: how much is read again, with kept caches and without.

The agents alternate; between their turns they ask for titles. The server is restarted three times
and killed once. The same requests, byte for byte, are then sent to a server without kept caches,
with the same restarts: what it reads, and what it answers, is what the first one is compared with.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from gateway_checks import serving
from kv_checks.agents import Agent, ClaudeCode, OpenCode, prose
from kv_checks.asking import Answer, Ask, ask

GOAL: Final = 0.12
OTHER_BATCHES: Final = (128, 256, 1024)  # tokens
_SAMPLE: Final = 8000  # characters, to learn how many make a token
Event = Literal["ask", "restart", "kill"]


@dataclass(frozen=True, slots=True)
class Done:
    """One request of the day and its answer. `what`: for people, such as `opencode, turn 3`."""

    what: str
    request: Ask
    answer: Answer


class Server:
    """A server that can be restarted at the same port with the same files."""

    def __init__(self, home: Path, arguments: Sequence[str]) -> None:
        self._home = home
        self._arguments = arguments
        self._port = serving.free_port()
        self._stack = ExitStack()
        self.served = self._start()

    def _start(self) -> serving.Served:
        return self._stack.enter_context(
            serving.gateway(self._home, self._arguments, port=self._port)
        )

    def restart(self, *, kill: bool = False) -> None:
        """Stop it, or kill it, and start it again."""
        if kill:
            os.kill(self.served.process.pid, signal.SIGKILL)
        self.close()
        self.served = self._start()

    def close(self) -> None:
        """Stop it."""
        self._stack.close()


def events(turns: int) -> Iterator[tuple[Event, int]]:
    """Yield the turns, five at least, and between them three restarts and one SIGKILL."""
    between: dict[int, Event] = {
        turns // 4: "restart",
        turns // 2: "restart",
        3 * turns // 4: "restart",
        turns - 1: "kill",
    }
    for turn in range(1, turns + 1):
        yield "ask", turn
        if event := between.get(turn):
            yield event, turn


def run(server: Server, agents: Sequence[Agent], turns: int) -> list[Done]:
    """Let the agents work for so many turns each."""
    done: list[Done] = []
    for event, turn in events(turns):
        if event != "ask":
            server.restart(kill=event == "kill")
            continue
        for agent in agents:
            for what, request in (("turn", agent.ask()), ("title", agent.title())):
                answer = ask(server.served, request)
                done.append(Done(f"{agent.name}, {what} {turn}", request, answer))
                _say(done[-1])
                if what == "turn":
                    agent.answered(answer.text)
    return done


def again(server: Server, day: Sequence[Done], turns: int) -> list[Done]:
    """Send the same requests once more, with the same restarts."""
    rest = iter(day)
    done: list[Done] = []
    each = len(day) // turns
    for event, _ in events(turns):
        if event != "ask":
            server.restart(kill=event == "kill")
            continue
        for _ in range(each):
            one = next(rest)
            done.append(Done(one.what, one.request, ask(server.served, one.request)))
            _say(done[-1])
    return done


def characters_of(served: serving.Served, tokens: int) -> int:
    """Return how many characters of prose make so many tokens, as this model counts."""
    text = prose(_SAMPLE, 0)
    body = {"model": "any", "max_tokens": 1, "messages": [{"role": "user", "content": text}]}
    counted = ask(served, Ask("count", "/v1/chat/completions", body)).prompt
    return round(tokens * len(text) / max(1, counted))


def _say(done: Done) -> None:
    a = done.answer
    because = f"  ({a.because})" if a.because else ""
    print(
        f"{done.what:24}{a.prompt:8,} tokens{a.read:8,} read{a.restored:8,} restored"
        f"{a.first_s:8.2f} s{because}",
        flush=True,
    )


def unsure(home: Path, arguments: Sequence[str], differing: Sequence[Done]) -> list[Done]:
    """Return those requests whose cold answer also changes with the micro-batch.

    There two words are as likely as each other, and how the prompt is cut decides between them.
    """
    found = []
    for number, batch in enumerate(OTHER_BATCHES):
        more = ("--kv-disk", "off", "--ubatch", str(batch))
        server = Server(home / f"other-{number}", [*arguments, *more])
        try:
            found += [
                one for one in differing if ask(server.served, one.request).text != one.answer.text
            ]
        finally:
            server.close()
    return [one for one in differing if one in found]


def stored(home: Path) -> dict[str, int]:
    """Return what `steprun kv` says of the files."""
    argv = [sys.executable, "-m", "runner", "kv", "--json"]
    environment = {**os.environ, "STEPRUN_HOME": str(home), "PYTHONPATH": str(serving.ROOT)}
    ran = subprocess.run(argv, capture_output=True, env=environment, check=True)
    document: dict[str, int] = json.loads(ran.stdout)
    return document


def _report(
    kept: Sequence[Done], without: Sequence[Done], home: Path, arguments: Sequence[str]
) -> bool:
    read, again_ = (sum(one.answer.read for one in day) for day in (kept, without))
    both = list(zip(kept, without, strict=True))
    differing = [b for a, b in both if a.answer.text != b.answer.text]
    ratio = read / max(1, again_)
    disk = stored(home / "kept")
    print(
        f"\ntokens read: {read:,} with kept caches, {again_:,} without: {ratio:.3f} (goal {GOAL})"
    )
    print(f"the same answer: {len(kept) - len(differing)} of {len(kept)}")
    print(
        f"on the disk at the end: {disk['total_bytes'] >> 20:,} MiB; "
        f"written: {disk['written_today_bytes'] >> 20:,} MiB"
    )
    doubtful = unsure(home, arguments, differing)
    for one in differing:
        why = "near tie: a cold one changes, too" if one in doubtful else "ANOTHER ANSWER"
        print(f"  {one.what}: {why}")
    return ratio <= GOAL and len(doubtful) == len(differing)


def main() -> int:
    """Run the day twice, and print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a GGUF file, such as the tiny Step")
    parser.add_argument("--turns", type=int, default=8, help="of each agent")
    parser.add_argument("--prompt-tokens", type=int, default=20_000, help="of a system prompt")
    parser.add_argument("--ctx", type=int, default=65_536)
    parser.add_argument("--out", type=Path, help="write all requests and answers to FILE (JSON)")
    parser.add_argument("more", nargs="*", help="further options of `steprun serve`, after --")
    args = parser.parse_args()
    serving.end_in_order()
    arguments = ["--model", args.model, "--ctx", str(args.ctx), *args.more]
    with tempfile.TemporaryDirectory(prefix="kv_day") as name:
        began = time.monotonic()
        server = Server(Path(name) / "kept", arguments)
        try:
            characters = characters_of(server.served, args.prompt_tokens)
            agents = (ClaudeCode(characters, 1), OpenCode(characters, 2))
            kept = run(server, agents, args.turns)
        finally:
            server.close()
        print(f"{time.monotonic() - began:.0f} s. The same without kept caches:")
        server = Server(Path(name) / "without", [*arguments, "--kv-disk", "off"])
        try:
            without = again(server, kept, args.turns)
        finally:
            server.close()
        well = _report(kept, without, Path(name), arguments)
    if args.out:
        rows = [
            (a.what, a.request.body, a.answer.text, b.answer.text)
            for a, b in zip(kept, without, strict=True)
        ]
        args.out.write_text(json.dumps(rows, indent=1))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
