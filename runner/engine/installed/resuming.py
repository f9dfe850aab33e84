"""What an engine can do with a prompt that it has read before, by its self-test.

The embedded engine needs none: its version is the one that steprun was tested with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from runner.engine.installed.stamp import FEATURES, RESUMING
from runner.engine.installed.store import EMBEDDED, InstalledEngine, as_tested

_SAVING: Final = "--slot-save-path"


@dataclass(frozen=True, slots=True)
class Resuming:
    """Which of `RESUMING` holds; `untested`: nobody has looked whether any of the others does."""

    holds: frozenset[str] = frozenset(RESUMING)
    untested: bool = False

    @property
    def keeps(self) -> bool:
        """Whether it is worth keeping prompts on the disk: a chat goes on after a restart."""
        return {"resume_turn", "resume_restart"} <= self.holds

    @property
    def spare_slot(self) -> bool:
        """Whether a second slot over the same cache can be chosen."""
        return "spare_slot" in self.holds


def resuming(engine: InstalledEngine | None) -> Resuming:
    """Return what an engine can do; None: one that is yet to be made, which can do everything."""
    if engine is None:
        return Resuming()
    stamp = engine.stamp
    found = {n: stamp.features[n].result == "pass" for n in RESUMING if n in stamp.features}
    if engine.name == EMBEDDED and as_tested(engine):
        found = dict.fromkeys(RESUMING, True) | found
    holds = frozenset(name for name, passed in found.items() if passed)
    return Resuming(holds, len(found) < len(RESUMING) and _SAVING in stamp.flags)


def in_words(engine: InstalledEngine | None, others: Sequence[InstalledEngine]) -> str:
    """Say whether prompts are kept on the disk, and if not, which engine would.

    Empty for an engine that is yet to be made. `others`: those that could be taken instead.
    """
    if engine is None:
        return ""
    found = resuming(engine)
    off = [FEATURES[name] for name in RESUMING if name not in found.holds]
    if found.keeps:
        but = f", except for {' and '.join(off)}" if off else ""
        return (
            "Prompts that were read are kept on the disk and survive a restart: the engine "
            f"{engine.name} passes the self-test for it{but}."
        )
    if found.untested:
        why = f"the engine {engine.name} was not tested for it (steprun engine test {engine.name})"
    elif _SAVING not in engine.stamp.flags:
        why = f"the engine {engine.name} cannot save them"
    else:
        why = f"the engine {engine.name} fails its self-test at {' and '.join(off)}"
    able = [other.name for other in others if resuming(other).keeps]
    would = f"; {able[0]} passes it (--engine {able[0]})" if able else ""
    return f"Prompts that were read are not kept on the disk: {why}{would}."
