"""The canary, an engine's self-test: with a tiny model, everything that a chat will need.

What is wrong with an engine shows in seconds here, and not after 105 GB are loaded. `checks` says
what is asked, `resuming` of that what is asked twice, `questions` how, `rounds` starts the engines,
`model` makes the tiny model.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from runner.engine.installed.stamp import Feature
from runner.engine.installed.store import InstalledEngine

OnFeature = Callable[[str, Feature], None]


def run(
    engine: InstalledEngine, safe_flags: Sequence[str], on_feature: OnFeature = lambda *_: None
) -> tuple[Mapping[str, Feature], tuple[str, ...]]:
    """Ask an engine for each feature; return what was found, and the flags that it needs.

    `safe_flags`: what may avoid a crash, from the recipe of its backend; they are returned where it
    crashed without them and passes with them. `on_feature` hears each feature as it is known, and
    again where a second look changed it. An engine that fails raises nothing: that is a finding.
    Raises `Refused` where this machine is at fault: the disk is full, another engine starts.
    """
    # HTTP and pictures: only where an engine is asked.
    from runner.canary.rounds import ask_features  # noqa: PLC0415

    return asyncio.run(ask_features(engine, tuple(safe_flags), on_feature))
