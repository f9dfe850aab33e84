"""`steprun doctor`: every check, what it found, and what to do. Changes nothing."""

import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from runner import __version__
from runner.base import paths
from runner.base.disk import existing
from runner.base.errors import Exit, SteprunError
from runner.base.files import write_private
from runner.base.units import download_size, size
from runner.catalog import models_toml
from runner.cli.doctor_report import report
from runner.cli.lazy import examples
from runner.cli.render.common import emit_json
from runner.cli.render.wrap import say, wrapped
from runner.engine.installed import describe, pick, store
from runner.kv.files import found_files
from runner.machine.captures import capture
from runner.machine.facts import Machine
from runner.machine.health import Slowed, look
from runner.machine.probe import detect
from runner.plan.choose import Plan
from runner.plan.request import PlanRequest
from runner.run import saved_prompts
from runner.run.download_missing import counted
from runner.run.model_ref import CatalogModel, read_model
from runner.run.prepare import choose_plan, main_machine
from runner.weights import cache_layout, inventory
from runner.weights.inventory import FileState, Kept

MARKS = {"ok": ("ok", "green"), "warn": ("note", "yellow"), "bad": ("BAD", "red")}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: `state` is ok, warn or bad; `fix` says what to type."""

    state: str
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What several checks look at: this machine, the plan for it while it is idle, its weights.

    `slowed`: by what the machine is slowed down now.
    """

    machine: Machine
    plan: Plan
    weights: tuple[Kept, ...]
    slowed: tuple[Slowed, ...] = ()


@click.command(
    epilog=examples(
        "steprun doctor", "steprun doctor --json", "steprun doctor --report report.json"
    )
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.doctor/1).")
@click.option(
    "--report",
    "report_to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write all that a bug report needs to FILE, without names and serial numbers.",
)
def doctor(*, as_json: bool, report_to: Path | None) -> int:
    """Check everything that chat and serve rely on, and say what to do. Changes nothing."""
    live = capture.Live()
    facts = replace(facts_of(detect(live)), slowed=look(live))
    findings = {check.__name__.strip("_"): _safely(check, facts) for check in CHECKS}
    checks = [{"check": name, **asdict(finding)} for name, finding in findings.items()]
    if report_to is not None:
        write_private(
            report_to,
            json.dumps(report(checks, facts.plan, store.engines(), live.capture()), indent=1),
        )
        say(
            f"Report written to {report_to}. steprun sends nothing: read the file, then attach it "
            "to an issue.",
            err=True,
        )
    if as_json:
        emit_json({"schema": "steprun.doctor/1", "checks": checks})
    else:
        for name, finding in findings.items():
            mark, colour = MARKS[finding.state]
            text = wrapped(f"{mark:5} {name}: {finding.found}", 6)
            click.echo(click.style(text[:5], fg=colour) + text[5:])
            if finding.fix:
                say(f"      next: {finding.fix}", 12)
    return Exit.FAILED if any(f.state == "bad" for f in findings.values()) else Exit.DONE


def facts_of(machine: Machine) -> Facts:
    """Return what the checks look at on a machine."""
    model = models_toml.load_catalog().models[0]
    model_spec, _ = read_model(CatalogModel(model), see=True)
    machine = main_machine(machine)
    plan = choose_plan(machine, model_spec, PlanRequest())
    files = cache_layout.needs(model, model.quant(plan.variant.name), mtp=False)
    return Facts(machine, plan, tuple(inventory.look(files, model.name)))


def _safely(check: Callable[[Facts], Finding], facts: Facts) -> Finding:
    """Run one check; a check that fails is a finding, not the end."""
    try:
        return check(facts)
    except SteprunError as error:
        return Finding("bad", f"{error.what} {error.why}", error.next)
    except OSError as error:  # a home that this user may not enter
        return Finding("bad", str(error), "Choose another folder: STEPRUN_HOME=DIR")


def _python(_: Facts) -> Finding:
    version = f"steprun {__version__} on Python {platform.python_version()}"
    if platform.system() == "Darwin" and platform.machine() == "x86_64":
        return Finding("warn", f"{version}, Intel build", "On Apple Silicon, use a native Python.")
    return Finding("ok", version)


def _machine(facts: Facts) -> Finding:
    m = facts.machine
    room = size(max(0, m.limit_bytes - m.reserve_bytes))
    found = f"{m.name}, {size(m.memory_bytes)}, of which an engine may hold {room}"
    if m.reserve_bytes:
        found += f": {size(m.limit_bytes)} less a reserve of {size(m.reserve_bytes)}"
    if m.warnings:
        return Finding("warn", f"{found}; {'; '.join(m.warnings)}", "steprun machine")
    return Finding("ok", found)


def _heat_and_power(facts: Facts) -> Finding:
    if not facts.slowed:
        return Finding("ok", "nothing that is known slows this machine down")
    found = " ".join(each.what for each in facts.slowed)
    return Finding("warn", found, "; ".join(each.next for each in facts.slowed))


def _plan(facts: Facts) -> Finding:
    plan = facts.plan
    if plan.fits:
        return Finding(
            "ok",
            f"{plan.model_spec.name} {plan.variant.name} fits with {plan.config.context:,} tokens",
        )
    return Finding("warn", plan.reasons[0], "steprun plan; steprun chat --demo")


def _weights(facts: Facts) -> Finding:
    quant = facts.plan.variant.name
    states = {each.state for each in facts.weights}
    if FileState.DAMAGED in states:
        return Finding("bad", f"{quant} is damaged", "steprun models repair")
    missing = [each.file for each in facts.weights if each.path is None]
    if missing and not facts.plan.fits:
        return Finding("ok", f"none are needed: {facts.plan.model_spec.name} does not fit")
    if missing:
        total = download_size(sum(file.bytes for file in missing))
        return Finding(
            "warn",
            f"{counted(len(missing))} of {quant} not downloaded yet ({total})",
            f"steprun models pull {quant}, or if another program has them: steprun models adopt",
        )
    if FileState.INSTALLED in states:
        return Finding(
            "warn", f"{quant} is downloaded but not verified", f"steprun models verify {quant}"
        )
    return Finding("ok", f"{facts.plan.model_spec.name} {quant} is downloaded and verified")


def _folders(_: Facts) -> Finding:
    for folder in (paths.cache_dir(), paths.data_dir(), paths.config_dir(), paths.state_dir()):
        if not _writable(folder):
            return Finding(
                "bad", f"{folder} cannot be written", "Choose another folder: STEPRUN_HOME=DIR"
            )
    return Finding("ok", f"state in {paths.state_dir()}")


def _saved_prompts(_: Facts) -> Finding:
    folder = saved_prompts.folder()
    held = sum(path.lstat().st_size for _, _, path in found_files(folder))
    free = shutil.disk_usage(existing(folder)).free
    found = f"{size(held)} of saved prompts in {folder}, {size(free)} free on its disk"
    if most := saved_prompts.bounds(None).budget_bytes:
        return Finding("ok", f"{found}; they may take {size(most)} unless --kv-disk says otherwise")
    return Finding(
        "warn",
        f"{found}: too little to save prompts, so they are read again after a restart",
        "Free space on this disk, or choose another folder: STEPRUN_HOME=DIR",
    )


def _writable(folder: Path) -> bool:
    """Return whether a folder, or the one in which it would be made, can be written to."""
    there = existing(folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _disk(facts: Facts) -> Finding:
    cache = cache_layout.hub_cache()
    free = shutil.disk_usage(existing(cache)).free
    need = sum(each.file.bytes - each.bytes for each in facts.weights if each.path is None)
    found = f"{size(free)} free for weights in {cache}"
    if not _writable(cache):
        return Finding(
            "warn",
            f"{cache} cannot be written: no weights can be downloaded into it",
            "Make it writable, or choose another folder: HF_HOME=DIR",
        )
    if need > free and facts.plan.fits:  # of a model that cannot run nothing will be downloaded
        return Finding(
            "warn",
            f"{found}; {facts.plan.variant.name} needs {size(need)}",
            "Free some space, or choose another disk: HF_HOME=DIR",
        )
    return Finding("ok", found)


def _embedded(_: Facts) -> Finding:
    """Load the embedded engine's native code, in a process of its own."""
    try:
        return Finding("ok", f"xllamacpp {describe.embedded_version()}")
    except SteprunError as error:
        return Finding("bad", f"{error.what} {error.why}", error.next)


def _engine(facts: Facts) -> Finding:
    """Say which engine chat and serve use, and whether a better one can be built."""
    current = store.current().name
    taken = pick.pick(store.engines(), current, facts.machine)
    lost = current if current != taken.name else ""
    found = pick.in_words(taken, lost).removeprefix("Engine: ")
    if pick.rank(taken, facts.machine):
        return Finding(
            "warn",
            f"{found} It leaves {facts.machine.name} idle.",
            "steprun engine build, or steprun engine fetch",
        )
    if not taken.stamp.tested:
        return Finding("warn", f"{found} Not tested yet.", "steprun engine test")
    if lost:
        return Finding("warn", found, "steprun engine list")
    return Finding("ok", found)


def _terminal(_: Facts) -> Finding:
    term = os.environ.get("TERM", "unset")
    if term == "dumb":
        return Finding(
            "warn", "TERM is dumb: the chat runs in plain lines", "export TERM=xterm-256color"
        )
    columns, lines = shutil.get_terminal_size()
    return Finding("ok", f"{columns} x {lines}, TERM={term}")


CHECKS = (
    *(_python, _machine, _heat_and_power, _plan, _weights, _folders, _saved_prompts),
    *(_disk, _embedded, _engine, _terminal),
)
