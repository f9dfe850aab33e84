"""What one run keeps of the prompts that its engine has read: where, how much, what holds. Pure."""

from dataclasses import dataclass
from pathlib import Path

from runner.kv.depends import Depends
from runner.kv.policy import Bounds


@dataclass(frozen=True, slots=True)
class Kept:
    """How a gateway keeps prompts for its engine.

    `folder`: of the store, which all engines share. `depends`: of this engine and its model.
    `bounds`: of the store; its budget is 0 where nothing is to be kept on the disk. `spare_slots`:
    those that the engine has beside `Settings.parallel`, over the same cache. `token_bytes`: of a
    saved cache, by the plan; 0 where that is not known.

    What the self-test of the engine found to hold, with a saved slot: `next_turn` of the same
    conversation, after a `restart`, with a `picture`, and `draft_heads` (True where none are
    loaded).
    """

    folder: Path
    depends: Depends
    bounds: Bounds
    spare_slots: int = 0
    next_turn: bool = True
    restart: bool = True
    picture: bool = True
    draft_heads: bool = True
    token_bytes: float = 0.0

    @property
    def on_disk(self) -> bool:
        """Whether files are kept at all."""
        return self.bounds.budget_bytes > 0 and self.next_turn and self.draft_heads

    @property
    def slot_folder(self) -> Path:
        """The folder in which the engine saves slots and finds them (`--slot-save-path`)."""
        return self.folder / self.depends.key()
