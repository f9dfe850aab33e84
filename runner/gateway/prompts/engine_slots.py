"""What the gateway asks the engine to do with its slots: look, save, restore, empty, touch."""

import json
from dataclasses import dataclass
from typing import Any, Final

from runner.gateway.engine.line import EngineLost
from runner.gateway.engine.relay import Relay
from runner.net.endpoint import Endpoint

# It answers between two batches, which may take minutes on a slow processor, and does nothing else
# while it saves or restores. One that hangs is ended by the keeper, which watches while this waits.
ANSWERS_S: Final = 600.0
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

    async def _move(self, slot: int, action: str, name: str, *fields: str) -> Moved:
        path = f"/slots/{slot}?action={action}"
        answer = await self._post(path, {"filename": name})
        tokens, size, milliseconds = (_number(answer, field) for field in fields)
        return Moved(int(tokens), int(size), milliseconds / 1000)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._relay.traffic.waits():
            answer = json.loads(await self._relay.post(path, body, self._endpoint, ANSWERS_S))
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
