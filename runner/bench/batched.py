"""Runs the engine's own `llama-batched-bench` over the grid, and reads its table as it grows."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from runner.base.errors import SteprunError
from runner.bench.grid import N_GEN, Grid, Measurement
from runner.engine.process.log import LogReader
from runner.engine.process.supervisor import EngineProcess
from runner.plan.launch import LaunchSpec

NAME: Final = "llama-batched-bench"
# Between two looks at its log. Where all cores compute, each look makes them wait for each other.
SHORTEST_S: Final = 0.05
LONGEST_S: Final = 1.0
_CELLS: Final = 10  # PP, TG, B, N_KV, T_PP, S_PP, T_TG, S_TG, T, S


def parse_bench(line: str) -> Measurement | None:
    """Return a line of the tool's table as a row; None for any other line.

    Without a prompt the tool divides nothing by next to nothing: its rate may read `-nan`.
    """
    cells = line.strip().strip("|").split("|")
    if not line.startswith("|") or len(cells) != _CELLS:
        return None
    try:
        n_prompt, n_gen, parallel, n_kv = (int(cell) for cell in cells[:4])
        prefill_s, prefill_tps, decode_s, decode_tps = (float(cell) for cell in cells[4:8])
    except ValueError:
        return None
    if n_prompt == 0:
        prefill_tps = 0.0
    figures = (prefill_s, prefill_tps, decode_s, decode_tps)
    if not all(math.isfinite(figure) and figure >= 0 for figure in figures):
        return None
    return Measurement(
        n_prompt, n_gen, parallel, n_kv, prefill_s, prefill_tps, decode_s, decode_tps
    )


def asked(grid: Grid) -> tuple[str, ...]:
    """Return the flags that ask for the grid, and for a short row more, which nobody waits for.

    The tool writes its table in a thread, and ends without waiting for it: its last row is lost
    now and then (2 times of 8, with both cores of a machine busy).
    """
    prompts = ",".join(str(prompt) for prompt in (*grid.prompts, 0))
    return ("-npp", prompts, "-ntg", str(N_GEN), "-npl", "1")


class BatchedBench(EngineProcess):
    """The tool under the guard. It listens nowhere: what it says is in its log."""

    def _listen(self, own_key: Path) -> list[str]:  # noqa: ARG002 - it asks for no key
        return []

    async def rows(
        self, grid: Grid, on_wait: Callable[[float], None]
    ) -> AsyncGenerator[Measurement]:
        """Yield each row of the grid when it is measured; see `measure`."""
        log, began = LogReader(self.log_path), time.monotonic()
        found: list[Measurement] = []
        pause = SHORTEST_S
        while len(found) < len(grid.prompts):
            ended = not self.alive()  # before the log is read: after its end nothing is added
            new = log.lines()
            for row in map(parse_bench, new):
                if row and grid.is_next(row, found):
                    found.append(row)
                    self._ready = True
                    yield row
            if not new:
                if ended:
                    raise self._ended()
                self.check_moves()
                on_wait(time.monotonic() - began)
                await asyncio.sleep(pause)
                pause = min(LONGEST_S, 2 * pause)
            else:
                pause = SHORTEST_S

    def _ended(self) -> SteprunError:
        if self._running is not None and self._running.status() == 0:
            return SteprunError(
                f"{NAME} ended before it had measured everything.",
                why="Rows of its table are missing, or not in a known form.",
                next=f"Read the log: {self.log_path}",
            )
        return self.verdict()


async def measure(
    tool: Path, spec: LaunchSpec, grid: Grid, on_wait: Callable[[float], None] = lambda _: None
) -> AsyncGenerator[Measurement]:
    """Yield each row of the grid when it is measured.

    `spec`: from `grid.launch_line`, with the tool's own flags. `on_wait` hears the seconds so far,
    several times a second. Raises the reason (`SteprunError`) where the tool ends early or hangs.
    """
    line = replace(spec, argv=(*spec.argv, *asked(grid)))
    async with BatchedBench((str(tool),), line) as running:
        async for row in running.rows(grid, on_wait):
            yield row
