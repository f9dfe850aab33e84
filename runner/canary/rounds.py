"""Starting an engine in each of the ways that it will be started, and asking it.

A crash, a hang, a flood or nonsense is a finding: it is recorded, and the rest is asked after a
new start. A crash that the safe flags avoid is not a finding: everything is asked again with them.
"""

import asyncio
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Final

from runner.base.errors import SteprunError
from runner.base.text import clean
from runner.canary import meaning, model
from runner.canary.checks import STEPS, Start, Step
from runner.canary.questions import Absent, Fault, Talk, Tokens
from runner.chat.host import reason_of
from runner.engine.builder import recipe
from runner.engine.installed.flag_values import fitted
from runner.engine.installed.stamp import Feature, Result
from runner.engine.installed.store import InstalledEngine
from runner.engine.process import guard, supervisor
from runner.machine.facts import Backend
from runner.plan.choose import ALL_LAYERS
from runner.plan.launch import EngineFiles, LaunchSpec, Settings, launch
from runner.plan.memory.kv_cache import MTP_TOKENS

CONTEXT: Final = 8192  # tokens; the long prompt and what follows it are 4,600
# Tokens of a prefill batch. The engine keeps a window and as many more: the fewer, the shorter is
# the answer that takes the window past its prompt (`checks.BEYOND`).
UBATCH: Final = 256
_LONGEST_WHY = 240  # characters

Features = dict[str, Feature]


@dataclass(frozen=True, slots=True)
class Limits:
    """How long an engine may take, in seconds: to load 12 MB, and for all questions of a check.

    Quiet, they take 1 and 3. Two cores that three other engines kept busy took 20 and over 120, and
    a card may compile its kernels first: better to wait long for a hang than to see one where none
    is.
    """

    start_s: float = 120.0
    check_s: float = 300.0


async def ask_features(
    engine: InstalledEngine,
    safe_flags: tuple[str, ...],
    on_feature: Callable[[str, Feature], None],
    limits: Limits = Limits(),
) -> tuple[Features, tuple[str, ...]]:
    """Ask for each feature, with the safe flags where they avoid a crash; see `canary.run`."""
    reported: dict[str, tuple[Result, str]] = {}

    def report(name: str, feature: Feature) -> None:
        if reported.get(name) != (feature.result, feature.why):
            reported[name] = (feature.result, feature.why)
            on_feature(name, feature)

    files = await asyncio.to_thread(model.files)
    known = {word for word in safe_flags if word.startswith("-")} <= engine.stamp.flags
    with tempfile.TemporaryDirectory(prefix="steprun-canary-") as folder:
        plain = _Round(engine, files, meaning.files(), Path(folder), limits, report)
        plain.safe = safe_flags if known else ()
        try:
            await plain.ask_all()
        except _SafeFlagsHelp as helped:
            safe = _Round(
                engine, files, meaning.files(), Path(folder), limits, report, flags=safe_flags
            )
            safe.why = str(helped)
            await safe.ask_all()
            return safe.features, safe_flags
        return plain.features, ()


class _SafeFlagsHelp(Exception):  # noqa: N818 - good news
    """The safe flags avoid a crash; the text says which."""


@dataclass(slots=True)
class _Round:
    """All features, asked with the same flags.

    `files`: of random weights, `trained`: of the model that ships. `flags`: beyond those of the
    launch line. `safe`: what to try where it crashes. `why`: what to
    say of `threads`, once it passes. `seen`: the engine's answers, across starts. `silent`: it
    ended or hung over a text, with one thread, so that the rest would only take long.
    """

    engine: InstalledEngine
    files: EngineFiles
    trained: EngineFiles
    folder: Path
    limits: Limits
    report: Callable[[str, Feature], None]
    flags: tuple[str, ...] = ()
    safe: tuple[str, ...] = ()
    why: str = ""
    features: Features = field(default_factory=dict)
    seen: dict[bool | str, list[Tokens]] = field(default_factory=dict)
    silent: bool = False

    async def ask_all(self) -> None:
        """Ask everything. Raises `_SafeFlagsHelp` where it crashes without the safe flags only."""
        for start, steps in groupby(STEPS, lambda step: step.start):
            left = deque(step for step in steps if not self._is_settled(step))
            while left:
                start = await self._session(start, left)  # noqa: PLW2901 - it may have to be less

    def _is_settled(self, step: Step) -> bool:
        """Whether a feature need not be asked further: it failed or is missing."""
        missing = [flag for flag in step.needs if flag not in self.engine.stamp.flags]
        if missing and step.feature not in self.features:
            self._settle(step, "absent", 0.0, f"It lacks {missing[0]}.")
        if self.silent and step.feature not in self.features:
            self._settle(step, "fail", 0.0, "Not tested: the engine does not answer a text prompt.")
        found = self.features.get(step.feature)
        return found is not None and found.result != "pass"

    async def _session(self, start: Start, left: deque[Step]) -> Start:
        """Start the engine once and ask what is left, until that is nothing, or it is lost.

        Returns how to start it for what is left then.
        """
        program, spec = self.engine.program, self._spec(start)
        async with supervisor.EngineProcess(program, spec) as running:
            began, why = time.monotonic(), ""
            try:
                async with asyncio.timeout(self.limits.start_s):
                    await running.wait_ready()
            except TimeoutError:
                why = f"It was not ready within {self.limits.start_s:.0f} s."
            except SteprunError as error:
                why = _line(error)
            took = time.monotonic() - began
            while left and not why:
                step = left.popleft()
                if not (self._is_settled(step) or await self._ask(step, running)):
                    return start
        if why:
            await self._try_safe(left[0], why)
            # It may be the projector alone that does not load: the rest can do without.
            rest = [s for s in left if start.projector and "--mmproj" not in s.needs]
            for step in left:
                if step not in rest:
                    self._settle(step, "fail", took, why, lost=True)
            left.clear()
            left.extend(rest)
            return replace(start, projector=False)
        return start

    async def _ask(self, step: Step, running: supervisor.EngineProcess) -> bool:
        """Ask one thing; return whether this engine can be asked another."""
        talk = Talk(running.endpoint, self.engine.stamp.kind, self.seen)
        began = time.monotonic()
        result: Result = "fail"
        lost, why = False, ""
        try:
            async with asyncio.timeout(self.limits.check_s):
                await step.check(talk)
            result = "pass"
        except TimeoutError:
            lost, why = True, f"No answer within {self.limits.check_s:.0f} s."
        except Absent as absent:
            result, why = "absent", str(absent)
        except Fault as fault:
            why = str(fault)
        except SteprunError as error:
            why = _line(await reason_of(running, error))
        took = time.monotonic() - began
        if running.log_path.with_name(f"{running.log_path.name}.1").exists():
            result, lost, why = "fail", True, f"It floods its log: more than {_LOG_MIB} MiB."
        if not running.alive():
            result, lost, why = "fail", True, why or _line(running.verdict())
            await running.stop()
            await self._try_safe(step, why)
        self._settle(step, result, took, why, lost=lost)
        return not lost

    async def _try_safe(self, step: Step, why: str) -> None:
        """Raise `_SafeFlagsHelp` where the same step passes with the safe flags."""
        if not self.safe:
            return
        seen = dict(self.seen)
        other = replace(
            self, flags=self.safe, safe=(), report=lambda *_: None, features={}, seen=seen
        )
        await other._session(step.start, deque([step]))  # noqa: SLF001 - another of this class
        found = other.features.get(step.feature)
        if found is not None and found.result == "pass":
            count = step.start.threads or _cores()
            threads = f"{count} thread{'s' if count > 1 else ''}"
            flags = " ".join(self.safe)
            raise _SafeFlagsHelp(f"Without {flags} it fails with {threads}: {why}")

    def _settle(
        self, step: Step, result: Result, took: float, why: str, *, lost: bool = False
    ) -> None:
        """Record what a step found; a feature passes where all of its steps do."""
        self.silent |= lost and step.feature == "text"
        before = self.features.get(step.feature)
        seconds = round(took + (before.seconds_s if before else 0.0), 3)
        if step.feature == "threads" and result == "pass":
            why = self.why
        feature = Feature(result, seconds, clean(why)[:_LONGEST_WHY])
        self.features[step.feature] = feature
        last = [each for each in STEPS if each.feature == step.feature][-1]
        if step is last or result != "pass":
            self.report(step.feature, feature)

    def _spec(self, start: Start) -> LaunchSpec:
        stamp = self.engine.stamp
        settings = Settings(
            context=CONTEXT,
            ubatch=UBATCH,
            gpu_layers=0 if stamp.backend is Backend.CPU else ALL_LAYERS,
            threads=start.threads or _cores(),
            load_mode=recipe.load_recipe(stamp.backend).run.load_mode,
            mtp_tokens=MTP_TOKENS if start.mtp else 0,
            alias="canary",
            spare=int(start.spare and "--kv-unified" in stamp.flags),
        )
        files = self.trained if start.trained else self.files
        files = replace(files, projector=files.projector if start.projector else None)
        spec = fitted(launch(files, settings, stamp.flags), stamp.values)
        # The embedded engine wants the separator, llama-server adds it where it is missing.
        slots = ("--slot-save-path", f"{self.folder}{os.sep}")
        more = slots if slots[0] in stamp.flags else ()
        return replace(spec, argv=(*spec.argv, *more, *self.flags))


_LOG_MIB = guard.LOG_BYTES >> 20


def _line(error: SteprunError) -> str:
    """Return an error in one line, without what to type next."""
    return " ".join(f"{error.what} {error.why}".split())


def _cores() -> int:
    """Return the cores that this process may use, two at least: a fault may want company."""
    may = getattr(os, "sched_getaffinity", None)
    return max(2, len(may(0)) if may else os.cpu_count() or 2)
