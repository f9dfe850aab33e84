"""The steps of the check, each on its own: a dict for the report, with `wrong` where it fails.

Everything is done through steprun's own commands, as an owner of the machine would do it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_check import prepare
from gpu_check.load import Case, Loaded, load
from runner.testbed import files, tiny_step
from testbed import twin

Data = dict[str, Any]
# What the ledger may be wrong by, in per cent of what the driver shows. `scripts/check_ledger`
# allows a whole process the same.
ALLOWED_PERCENT = 2.0
# Below this a percentage says nothing: the driver's context alone is larger than tiny Step.
LEAST_BYTES = 8 * 1024**3


class Skipped(Exception):  # noqa: N818 - not an error: a step that cannot be taken here
    """Says why a step was left out."""


@dataclass(frozen=True)
class Check:
    """What is checked, and with what. `seconds`: how long the whole check may take."""

    cpu: bool
    prepared: Path | None
    source: str | None
    engine: str | None
    seconds: float
    home: Path
    made: dict[str, str] = field(default_factory=dict)  # what earlier steps found: the engine

    def steprun(self, *words: str | Path, until: float) -> subprocess.CompletedProcess[str]:
        """Run one of steprun's commands. Raises `TimeoutExpired`."""
        return subprocess.run(
            self.argv(*words),
            env=self.env(),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=max(1.0, until - time.monotonic()),
            check=False,
        )

    def argv(self, *words: str | Path) -> list[str]:
        """Return the whole command."""
        return [sys.executable, "-m", "runner", *map(str, words)]

    def env(self) -> dict[str, str]:
        """Return its environment: a home of its own, so that nothing of the user's is touched."""
        return {**os.environ, "STEPRUN_HOME": str(self.home), "NO_COLOR": "1"}

    def with_engine(self) -> tuple[str, ...]:
        """Return the option that names the engine, where one was built or named."""
        name = self.engine or self.made.get("engine")
        # The embedded engine stands in only where nothing was to be built.
        if not name and not (self.cpu and not self.source and not self.prepared):
            raise Skipped("no engine was built")
        return ("--engine", name) if name else ()

    def bed(self) -> Path:
        """Return the folder of the models: tiny Step now, the twin where a step needs it."""
        folder = self.home / "testbed"
        folder.mkdir(parents=True, exist_ok=True)
        files.ensure(folder, "tiny", tiny_step.write)
        return folder


def _json(done: subprocess.CompletedProcess[str]) -> Data:
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr[-1500:]}") from None


def machine(check: Check, until: float) -> Data:
    """Report what steprun takes this machine for, and all that its probes saw, without names."""
    capture = check.home / "capture.json"
    check.home.mkdir(parents=True, exist_ok=True)
    done = check.steprun("machine", "--json", "--capture", capture, until=until)
    return {"machine": _json(done), "capture": json.loads(capture.read_text("utf-8"))}


def build(check: Check, until: float) -> Data:
    """Build the engine for this machine; the canary is a step of its own."""
    if check.engine:
        raise Skipped(f"--engine {check.engine} is installed")
    if check.cpu and not check.source and not check.prepared:
        raise Skipped("without a GPU the embedded engine is checked; --source NAME builds one")
    source = check.source or "upstream"
    if check.prepared:
        source = str(prepare.unpack(check.prepared, check.home))
    backend = ("--backend", "cpu") if check.cpu else ()
    done = check.steprun("engine", "build", "--source", source, *backend, "--no-test", until=until)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    listed = _json(check.steprun("engine", "list", "--json", until=until))
    built = [engine["name"] for engine in listed["engines"] if engine["name"] != "embedded"]
    check.made["engine"] = built[-1]
    return {"engine": built[-1]}


def canary(check: Check, until: float) -> Data:
    """Test everything that a chat needs, on tiny Step."""
    name = check.with_engine()[1:]
    found = _json(check.steprun("engine", "test", *name, "--json", until=until))
    failing = [k for k, v in found["features"].items() if v["result"] == "fail"]
    return {"canary": found, "wrong": [f"the canary fails at {name}" for name in failing]}


def account(check: Check, until: float) -> Data:
    """Compare the ledger with the engine's log and the driver, for tiny Step."""
    bed = check.bed()
    model = ("--model", bed / "tiny-step.gguf")
    see = (*model, "--projector", bed / "mmproj-tiny-step.gguf")
    cases = (
        Case("tiny 32K f16", ("--ctx", "32768", "--kv", "f16"), see),
        Case("tiny 128K q8_0", ("--ctx", "131072", "--kv", "q8_0"), see),
        Case("tiny 32K f16 ub 512", ("--ctx", "32768", "--kv", "f16", "--ubatch", "512"), see),
        Case("tiny 32K f16 fast", ("--ctx", "32768", "--kv", "f16", "--profile", "fast"), model),
    )
    return _compare(check, cases, until)


def full_size(check: Check, until: float) -> Data:
    """Compare them for the full-size twin: the shapes and sizes of Step-3.7-Flash, all zeros."""
    bed = check.bed()
    if sys.platform == "win32":
        raise Skipped("the twin needs sparse files, which this system does not make")
    twin.ensure(bed, "IQ4_XS")
    model = ("--model", bed / "step-twin-IQ4_XS-00001-of-00003.gguf")
    see = (*model, "--projector", bed / "mmproj-step-twin.gguf")
    fast = (*model, "--mtp", bed / "step-twin-mtp.gguf", "--profile", "fast")
    cases = (Case("twin, image input", (), see), Case("twin, draft heads", (), fast))
    return _compare(check, cases, until)


def bench(check: Check, until: float) -> Data:
    """Measure prefill and decode: of the twin on a GPU, of tiny Step on a processor."""
    bed = check.bed()
    model = bed / ("tiny-step.gguf" if check.cpu else "step-twin-IQ4_XS-00001-of-00003.gguf")
    if not model.exists():
        raise Skipped("the twin does not fit here")
    engine = check.with_engine()
    done = check.steprun("bench", "--quick", "--json", "--model", model, *engine, until=until)
    return {"bench": _json(done), "wrong": [] if done.returncode == 0 else [done.stderr[-500:]]}


def _compare(check: Check, cases: tuple[Case, ...], until: float) -> Data:
    rows, wrong, left_out = [], [], []
    for case in cases:
        words = (*case.model, *case.options, *check.with_engine())
        plan = _json(check.steprun("plan", *words, "--json", until=until))
        if plan["verdict"] != "fits":
            left_out.append(f"{case.name}: {plan['reasons'][0]}")
            continue
        if time.monotonic() > until - 30:
            left_out.append(f"{case.name}: no time was left")
            continue
        seen = load(check.argv("serve", *words), check.env(), check.home, until)
        rows.append(_row(case, plan, seen))
        wrong += [f"{case.name}: {text}" for text in _wrong(rows[-1])]
    if not rows:
        raise Skipped("; ".join(left_out))
    return {"loads": rows, "left_out": left_out, "wrong": wrong}


def _row(case: Case, plan: Data, seen: Loaded) -> Data:
    ledger = {row["item"]: row["bytes"] for row in plan["ledger"]}
    held = sum(size for item, size in ledger.items() if item != "reserve")
    # What no line of the ledger but "overhead" accounts for: the driver's share, as it really is.
    rest = None if seen.held is None else seen.held - held + ledger.get("overhead", 0)
    return {
        "case": case.name,
        "context": plan["context"],
        "ledger": ledger,
        "planned_bytes": held,
        "held_bytes": seen.held,
        "device_bytes": seen.device,
        "host_bytes": seen.host,
        "driver_bytes": rest,
        "caches_mib": seen.caches,
        "compute_mib": seen.compute,
        "load_s": seen.load_s,
    }


def _wrong(row: Data) -> list[str]:
    """Return what differs: the caches in MiB as printed, and the whole on the card."""
    found = []
    ledger = row["ledger"]
    planned = (ledger.get("kv_full", 0) + ledger.get("kv_sliding", 0)) / 1024**2
    # The heads' cache is part of the ledger's "mtp", and the last of the engine's.
    caches = row["caches_mib"][: 2 if ledger.get("kv_sliding") else 1]
    if abs(sum(caches) - planned) > 0.02:  # each is printed with two digits
        found.append(f"caches {sum(caches):.2f} MiB, planned {planned:.2f}")
    held, planned_bytes = row["held_bytes"], row["planned_bytes"]
    if held and held > LEAST_BYTES:
        percent = 100 * (planned_bytes - held) / held
        if abs(percent) > ALLOWED_PERCENT:
            found.append(f"planned {percent:+.1f} % of what the engine holds")
    return found


@dataclass(frozen=True)
class Step:
    """One step. `least_s`: with less time than this it is not begun."""

    name: str
    take: Callable[[Check, float], Data]
    least_s: float
    gpu: bool = False


STEPS = (
    Step("machine", machine, 5),
    Step("build", build, 60),
    Step("canary", canary, 30),
    Step("ledger of tiny Step", account, 30),
    Step("ledger of the full-size twin", full_size, 90, gpu=True),
    Step("bench", bench, 20),
)
