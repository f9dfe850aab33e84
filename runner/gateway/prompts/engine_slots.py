"""What the gateway asks the engine to do with its slots: look, save, restore, empty, touch."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from runner.gateway.aside import Buffer
from runner.gateway.engine.line import EngineLost
from runner.gateway.engine.relay import Relay
from runner.gateway.prompts.slots import Slots
from runner.net.endpoint import Endpoint

# It answers between two batches, which may take minutes on a slow processor, and does nothing else
# while it saves or restores. One that hangs is ended by the keeper, which watches while this waits.
ANSWERS_S: Final = 600.0
_LOOK_AGAIN_S: Final = 0.02  # until it has begun, or ended, what it was asked for
_BEGINS_S: Final = 10.0  # at most until it has begun: a prompt is cut into tokens before
# llama.cpp b11549 gives a prompt without tokens to the slot, finds nothing to do, and lets go of it
# before its cache is looked at ("empty prompt - releasing slot"): it was used last from then on.
_NOTHING: Final = {"prompt": [[]], "n_predict": 0}
# What may go wrong: the engine is away, refuses, or says what nobody expects.
FAILS: Final = (EngineLost, TimeoutError, ValueError, OSError)


@dataclass(frozen=True, slots=True)
class Moved:
    """A slot that was saved or restored: its tokens, the bytes of the file, and seconds."""

    tokens: int
    bytes: int
    seconds: float


class EngineSlots:
    """The slots of one engine. Every method raises one of FAILS."""

    def __init__(self, relay: Relay, endpoint: Endpoint) -> None:
        self._relay = relay
        self._endpoint = endpoint

    async def look(self) -> Any:
        """Return what the engine says of its slots."""
        with self._relay.traffic.waits():
            return json.loads(await self._relay.ask("/slots", self._endpoint, ANSWERS_S))

    async def settle(self, slots: Slots, *, cancelled: bool = False) -> None:
        """Wait until it has let go of cancelled requests, or begun with an unseen one."""
        deadline = time.monotonic() + (ANSWERS_S if cancelled else _BEGINS_S)
        while slots.cancelled() if cancelled else slots.unseen is not None:
            slots.look(await self.look())
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def save(self, slot: int, name: str) -> Moved:
        """Write a slot to a file in the engine's folder."""
        return await self._move(slot, "save", name, "n_saved", "n_written", "save_ms")

    async def restore(self, slot: int, name: str) -> Moved:
        """Read a file into a slot. Where it is refused, the slot is empty."""
        return await self._move(slot, "restore", name, "n_restored", "n_read", "restore_ms")

    async def empty(self, slot: int) -> None:
        """Empty a slot."""
        await self._post(f"/slots/{slot}?action=erase", {})

    async def touch(self, slot: int) -> None:
        """Have the engine use a slot without a change of what it holds."""
        await self._post("/completion", {**_NOTHING, "id_slot": slot})

    async def read(self, path: str, body: Sequence[Buffer]) -> tuple[int, float]:
        """Have the engine read a prompt; return the tokens that it had to read, and seconds.

        Raises EngineLost, or ValueError where the engine does not do it.
        """
        with self._relay.traffic.waits():
            data = await self._relay.send(path, body, self._endpoint)
        timings = _document(data or b"null").get("timings")
        if not isinstance(timings, dict):
            raise ValueError("the engine does not say what it has read")  # noqa: TRY004
        return int(_number(timings, "prompt_n")), _number(timings, "prompt_ms") / 1000

    async def _move(self, slot: int, action: str, name: str, *fields: str) -> Moved:
        path = f"/slots/{slot}?action={action}"
        answer = await self._post(path, {"filename": name})
        tokens, size, milliseconds = (_number(answer, field) for field in fields)
        return Moved(int(tokens), int(size), milliseconds / 1000)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._relay.traffic.waits():
            return _document(await self._relay.post(path, body, self._endpoint, ANSWERS_S))


def _document(data: bytes) -> dict[str, Any]:
    answer = json.loads(data)
    if not isinstance(answer, dict):
        raise ValueError("the engine's answer has no fields")  # noqa: TRY004 - what was read
    return answer


def _number(answer: dict[str, Any], field: str) -> float:
    """Return a number of an answer, which may be in an object of its own."""
    timings = answer.get("timings")
    value = answer.get(field, timings.get(field) if isinstance(timings, dict) else None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 50:
        raise ValueError(f"the engine does not say {field}")
    return float(value)
