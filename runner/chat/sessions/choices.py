"""What was chosen for one chat and is saved with it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runner.chat.sessions.entries import text_of

HOTTEST: Final = 5.0  # the highest temperature that is taken


@dataclass(frozen=True, slots=True)
class ChatChoices:
    """Reads the choices of a chat's file, which is not trusted."""

    saved: Mapping[str, Any]

    @property
    def system(self) -> str:
        """What the model is told before everything else; empty where nothing was chosen."""
        return text_of(self.saved, "system")

    @property
    def temperature(self) -> float | None:
        """The sampling temperature, None where none was chosen."""
        chosen = self.saved.get("temperature")
        if isinstance(chosen, bool) or not isinstance(chosen, int | float):
            return None
        return float(chosen) if 0 <= chosen <= HOTTEST else None
