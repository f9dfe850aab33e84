"""The report: one JSON document, `steprun.gpu-check/1`, and what is printed of it."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_check import steps
from gpu_check.host import gpus

SCHEMA = "steprun.gpu-check/1"
Report = dict[str, Any]


def collect(check: steps.Check) -> Report:
    """Take every step in turn; one that fails or has no time left does not end the check."""
    began = time.monotonic()
    found = [_take(check, step, began) for step in steps.STEPS]
    return {
        "schema": SCHEMA,
        "gpus": gpus(),
        "cpu": check.cpu,
        "seconds_s": round(time.monotonic() - began, 1),
        "steps": found,
    }


def _take(check: steps.Check, step: steps.Step, began: float) -> Report:
    left = check.seconds - (time.monotonic() - began)
    started = time.monotonic()
    result, why, data = "skipped", "", {}
    if step.gpu and check.cpu:
        why = "it needs a GPU"
    elif left < step.least_s:
        why = f"{left:.0f} s were left, and it takes {step.least_s:.0f} s or more"
    else:
        print(f"{step.name} ...", flush=True)
        try:
            data = step.take(check, time.monotonic() + left)
            wrong = data.pop("wrong", [])
            result, why = ("fail", "; ".join(wrong)) if wrong else ("pass", "")
        except steps.Skipped as reason:
            why = str(reason)
        except Exception as error:  # noqa: BLE001 - what went wrong is the report's subject
            result, why = "fail", f"{type(error).__name__}: {error}"[-2000:]
    seconds = round(time.monotonic() - started, 1)
    return {"step": step.name, "result": result, "why": why, "seconds_s": seconds, **data}


def failed(found: Report) -> bool:
    """Whether any step failed."""
    return any(step["result"] == "fail" for step in found["steps"])


def lines(found: Report) -> Iterator[str]:
    """Yield one line for each step."""
    for step in found["steps"]:
        why = f": {step['why']}" if step["why"] else ""
        yield f"{step['result']:8}{step['seconds_s']:7.1f} s  {step['step']}{why}"
    yield f"{found['seconds_s']:.0f} s in all"


def write(found: Report, path: Path) -> None:
    """Write the report: whole, or not at all."""
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
