"""A fake engine, named as one: slots that hold prompts, saves and restores; refuses when told to.

It answers as llama-server does (b11549): `id_slot` is honoured everywhere but in Anthropic's
Messages, which get the idle slot that was used the longest time ago. A prompt is the list of its
messages, or of their parts; a slot goes back to wherever two are the same. `log` is what it was
asked, in order: `read 0` where it was to write nothing.
"""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

TOKENS = 1000  # that each message has, and each part of one


@dataclass
class CachingSlot:
    """One slot: the messages that it holds."""

    holds: list[str] = field(default_factory=list)
    task: int = -1
    used: int = -1
    busy: bool = False


class CachingEngine:
    """Put its `answer` into `FakeEngines.answer`. `fails`: the actions that it refuses."""

    def __init__(self, folder: Path, slots: int = 2) -> None:
        self.folder = folder
        self.slots = [CachingSlot() for _ in range(slots)]
        self.fails: set[str] = set()
        self.log: list[str] = []
        self.pause: asyncio.Event | None = None  # in the middle of reading a prompt
        self.lets_go: asyncio.Event | None = None  # when a slot is idle whose caller hung up
        self.delays: list[float] = []  # of the next of Anthropic's, until they come to a slot
        self.read = 0  # messages, in all
        self.looks = 0
        self._tasks = 0

    def died(self) -> None:
        """Come back with empty slots, as another process."""
        self.slots = [CachingSlot() for _ in self.slots]

    async def answer(self, request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        """Answer anything."""
        if request.path == "/slots":
            self.looks += 1
            return web.json_response([self._row(slot) for slot in self.slots])
        if request.path.startswith("/slots/"):
            number = int(request.path.rsplit("/", 1)[1])
            return self._act(number, request.query["action"], asked.get("filename", ""))
        if request.path == "/completion" and asked.get("prompt") == [[]]:
            self.log.append(f"touch {asked['id_slot']}")
            self._use(self.slots[asked["id_slot"]])
            return web.json_response({"content": ""})
        return await self._complete(request.path, asked)

    def _row(self, slot: CachingSlot) -> dict[str, Any]:
        row: dict[str, Any] = {"n_ctx": 16_000, "is_processing": slot.busy}
        if slot.task >= 0:
            row |= {"id_task": slot.task, "n_prompt_tokens": TOKENS * len(slot.holds)}
        return row

    def _use(self, slot: CachingSlot) -> None:
        self._tasks += 1
        slot.task = slot.used = self._tasks

    def _act(self, number: int, action: str, name: str) -> web.Response:
        self.log.append(f"{action} {number}")
        slot, path = self.slots[number], self.folder / name
        if action in self.fails:
            slot.holds = [] if action == "restore" else slot.holds
            return web.json_response({"error": {"message": "no"}}, status=400)
        if action == "save":
            path.write_text(json.dumps(slot.holds).ljust(1 << 20), "utf-8")
            size = path.stat().st_size
            saved = {"n_saved": TOKENS * len(slot.holds), "n_written": size}
            return web.json_response({**saved, "timings": {"save_ms": 1.0}})
        slot.holds = json.loads(path.read_text("utf-8")) if action == "restore" else []
        restored = {"n_restored": TOKENS * len(slot.holds), "n_read": 1 << 20}
        return web.json_response({**restored, "timings": {"restore_ms": 1.0}})

    async def _complete(self, path: str, asked: dict[str, Any]) -> web.Response:
        if path == "/v1/messages":
            await asyncio.sleep(self.delays.pop(0) if self.delays else 0)
            idle = [slot for slot in self.slots if not slot.busy]
            slot = min(reversed(idle), key=lambda each: each.used)
        else:
            slot = self.slots[asked["id_slot"]]
        what = "ask" if asked.get("n_predict", 1) else "read"
        self.log.append(f"{what} {self.slots.index(slot)}")
        if what in self.fails:
            return web.json_response({"error": {"message": "no"}}, status=400)
        prompt: list[str] = []
        for content in (message["content"] for message in asked["messages"]):
            prompt += map(str, content if isinstance(content, list) else [content])
        same = 0
        while same < min(len(prompt), len(slot.holds)) and prompt[same] == slot.holds[same]:
            same += 1
        slot.busy = True
        try:
            slot.holds = prompt[: same + 1]  # a part is read
            if self.pause is not None:
                await self.pause.wait()
            slot.holds = prompt
        except asyncio.CancelledError:
            self._later = asyncio.create_task(self._let_go(slot))
            raise
        slot.busy = False
        self._use(slot)
        self.read += len(prompt) - same
        counts = {"prompt_n": TOKENS * (len(prompt) - same), "cache_n": TOKENS * same}
        timings = {**counts, "prompt_ms": 10_000.0 * (len(prompt) - same), "predicted_n": 1}
        usage = {"input_tokens": counts["prompt_n"], "output_tokens": 1}
        usage["cache_read_input_tokens"] = counts["cache_n"]
        return web.json_response({"timings": timings, "usage": usage})

    async def _let_go(self, slot: CachingSlot) -> None:
        if self.lets_go is not None:
            await self.lets_go.wait()
        slot.busy = False
        self._use(slot)
