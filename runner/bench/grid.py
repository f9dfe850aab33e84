"""What is measured: StepFun's grid of prompts, cut to what a plan has room for. Pure."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from runner.plan.launch import EngineFiles, LaunchSpec, Settings, launch

# StepFun's line: -npp 0,2048,8192,16384,32768 -ntg 128 -npl 1. Prefill of each prompt, then decode
# of so many tokens, one conversation at a time.
PROMPTS: Final = (0, 2_048, 8_192, 16_384, 32_768)
N_GEN: Final = 128
QUICK: Final = PROMPTS[:2]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured point, as llama-batched-bench counts: `n_kv` tokens are in the cache at its end.

    A rate is 0 where there was no prompt.
    """

    n_prompt: int
    n_gen: int
    parallel: int
    n_kv: int
    prefill_s: float
    prefill_tps: float
    decode_s: float
    decode_tps: float


@dataclass(frozen=True, slots=True)
class Grid:
    """The prompts to measure, the context that they need, and those that have no room in it."""

    prompts: tuple[int, ...]
    context: int
    left_out: tuple[int, ...] = ()

    @property
    def missing(self) -> str:
        """Say what is left out, and why; empty where nothing is."""
        if not self.left_out:
            return ""
        rows = ", ".join(f"{prompt:,}" for prompt in self.left_out)
        need = self.left_out[-1] + N_GEN
        return (
            f"Skipped, as the planned context is {self.context:,} tokens: prompts of {rows}. "
            f"To measure all of them: --ctx {need}."
        )

    def is_next(self, row: Measurement, measured: Sequence[Measurement]) -> bool:
        """Whether a row is the next one to be measured: anything else is not ours."""
        if len(measured) >= len(self.prompts):
            return False
        prompt = self.prompts[len(measured)]
        asked = (prompt, N_GEN, 1, prompt + N_GEN)
        return (row.n_prompt, row.n_gen, row.parallel, row.n_kv) == asked and row.decode_s > 0


def cut(context: int, prompts: Sequence[int] = PROMPTS) -> Grid:
    """Return the grid for a plan's context in tokens.

    The tool passes over a row that does not fit without a word: StepFun's own `-c 32768` has no
    room for 128 tokens behind 32,768. Here the context is the longest row's.
    """
    fit = tuple(prompt for prompt in prompts if prompt + N_GEN <= context)
    left_out = tuple(prompt for prompt in prompts if prompt not in fit)
    if left_out or not fit:
        return Grid(fit, context, left_out)
    return Grid(fit, fit[-1] + N_GEN)


def launch_line(
    weights: Path,
    settings: Settings,
    grid: Grid,
    *,
    flags: Collection[str],
    safe_flags: Sequence[str] = (),
    total_bytes: int = 0,
) -> LaunchSpec:
    """Return how to start a program for the grid: as planned, for text alone, without draft heads.

    `flags`: those that the program lists. `safe_flags`: what its canary found that it needs.
    """
    plain = replace(
        settings,
        context=grid.context,
        parallel=1,
        spare=0,
        checkpoints=0,
        checkpoint_step=0,
        cache_ram_mib=0,
        mtp_tokens=0,
        sampling=(),
    )
    spec = launch(EngineFiles(weights), plain, frozenset(flags), total_bytes)
    safe = tuple(flag for flag in safe_flags if flag in flags and flag not in spec.argv)
    return replace(spec, argv=(*spec.argv, *safe))


def rate(tokens: int, seconds: float) -> float:
    """Return tokens a second; 0 where there were none, or no measurable time."""
    return tokens / seconds if tokens and seconds > 0 and math.isfinite(seconds) else 0.0
