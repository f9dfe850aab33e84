"""Records how sure an exact engine is of its words: what the canary compares other engines with.

The pictures are crowded, so that many words are nearly as likely as the next. Nothing here needs
PyTorch.
"""

from __future__ import annotations

import json
from dataclasses import replace

from runner.canary import meaning
from runner.canary.questions import Talk, Tokens
from runner.engine.installed.stamp import Kind
from runner.engine.process.flags import FLAGS
from runner.engine.process.supervisor import EngineProcess
from runner.plan.launch import EngineFiles, Settings, launch
from training.engine import CONTEXT, PROGRAM


async def record(files: EngineFiles | None = None, kv: str = "f16") -> list[Tokens]:
    """Ask the embedded engine, with one thread and the KV cache type of that name."""
    settings = Settings(CONTEXT, kv, threads=1, repack=False)
    spec = launch(files or replace(meaning.files(), mtp=None), settings, frozenset(FLAGS))
    async with EngineProcess(PROGRAM, spec) as process:
        await process.wait_ready()
        talk = Talk(process.endpoint, Kind.EMBEDDED)
        asked = [meaning.crowded(crowd) for crowd in meaning.CROWDS]
        return [await talk.tokens([each], meaning.COUNTED) for each in asked]


def keep(found: list[Tokens]) -> None:
    """Write them beside the weights."""
    rows = [
        [[token, round(gap, 3)] for token, gap in zip(told.tokens, told.gaps, strict=True)]
        for told in found
    ]
    meaning.DOUBTS.write_text(json.dumps(rows, ensure_ascii=False) + "\n", encoding="utf-8")
