"""What is pinned of plans: every launch line, and the JSON documents, as text files in tests/data.

`launch/MACHINE.txt` has a row for each request, `ladder/MACHINE.txt` what each step down frees,
`json/NAME.json` a document whose free texts are
left out, so that wording may improve while keys, types and numbers may not change unnoticed.
`python -m tests.unit.plan.golden` rewrites them: read the diff before you commit it.

They were first written by the code of commit dc70a57, before its modules were moved and renamed,
and the code after the move gave the same to the byte.
"""

import json
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from runner.catalog import models_toml
from runner.cli.commands.plan import plan
from runner.engine.builder.recipe import load_recipe
from runner.machine.captures import presets
from runner.machine.captures.capture import Replay
from runner.machine.facts import to_json
from runner.machine.probe import detect
from runner.plan.ladder import ladder
from runner.plan.request import PlanRequest
from runner.run.model_ref import CatalogModel, read_model
from runner.run.prepare import choose_plan

DATA = Path(__file__).parents[2] / "data"
# Machines on which each option is tried too: one of every kind of memory.
CLOSE = ("4x5090", "5090-128", "cpu-24", "cpu-128", "dgx-spark", "m4-max-128", "strix-halo-windows")
OPTIONS = (
    "--ctx 8192",
    "--ctx 262144",
    "--kv f16",
    "--ubatch 512",
    "--parallel 4",
    "--parallel 2 --ctx 16384",
    "--allow-paging",
    "--model demo",
)
# Of each document the request: every kind of memory, experts on the CPU, paging, refusals.
DOCUMENTS = {
    "dgx-spark": "",
    "dgx-spark-fast": "--profile fast",
    "dgx-spark-Q8_0": "--quant Q8_0",
    "m4-max-128": "",
    "m4-max-128-Q4_K_S": "--quant Q4_K_S",
    "strix-halo-linux": "",
    "strix-halo-linux-stock": "",
    "strix-halo-windows": "",
    "4x5090": "",
    "4x5090-parallel": "--parallel 4",
    "5090-128": "",
    "5090-128-fast": "--profile fast",
    "gb300": "",
    "cpu-24": "",
    "cpu-24-paged": "--allow-paging",
    "cpu-128": "",
}
# What people read; every other value is compared as it is.
TEXTS = frozenset({"why", "what", "source", "limit_source", "reserve_why", "warning"})
LISTS_OF_TEXTS = frozenset({"reasons", "warnings", "unknown", "notes"})
TEXT = "<text>"


def planned(machine: str, options: str) -> Any:
    """Return what `steprun plan --json` says, its files without their folders."""
    words = ["--json", "--machine", machine, *options.split()]
    result = CliRunner().invoke(plan, words, catch_exceptions=False)
    found = json.loads(result.stdout)
    found["argv"] = [word.replace("\\", "/").rpartition("/")[2] for word in found["argv"]]
    return found


def without_texts(value: Any, key: str = "") -> Any:
    """Return a document with `<text>` for each free text that is not empty."""
    if isinstance(value, dict):
        return {name: without_texts(each, name) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_texts(each, key) for each in value]
    free = key in TEXTS or key in LISTS_OF_TEXTS
    return TEXT if free and isinstance(value, str) and value else value


def launch_lines(machine: str) -> str:
    """Return the launch lines of one machine, the words that all of them have only once."""
    rows = {request: _row(planned(machine, request)) for request in requests(machine)}
    lines = [row for row in rows.values() if isinstance(row, list)]
    always = [pair for pair in lines[0] if all(pair in row for row in lines)] if lines else []
    text = [f"# steprun plan --machine {machine}", "", *(f"  {pair}" for pair in always), ""]
    for request, row in rows.items():
        rest = [pair for pair in row if pair not in always] if isinstance(row, list) else [row]
        text += [request, f"  {' '.join(rest)}"]
    return "\n".join(text) + "\n"


def requests(machine: str) -> Iterator[str]:
    """Yield the options to plan with: both profiles with every quant that may be chosen."""
    quants = [quant.name for quant in models_toml.load_catalog().models[0].quants if quant.auto]
    for profile in ("--profile see", "--profile fast"):
        yield profile
        yield from (f"{profile} --quant {quant}" for quant in quants)
    if machine in CLOSE:
        yield from OPTIONS


def _row(found: Any) -> list[str] | str:
    """Return a plan's variables and flags with their values, or how much is missing."""
    if found["verdict"] == "refused":
        return f"refused: {found['missing_bytes']:,} bytes are missing"
    pairs = [f"{name}={value}" for name, value in found["env"].items()]
    for word in found["argv"]:
        if word.startswith("--") or not pairs:
            pairs.append(word)
        else:
            pairs[-1] += f" {shlex.quote(word)}"
    return pairs


def ladder_text(machine: str) -> str:
    """Return the steps down of one machine's plan: the bytes of main memory that each one frees.

    The two quants that are taken to be on the disk are one near the plan's and the smallest.
    """
    found = detect(Replay(presets.load_preset(machine)))
    model_spec, _ = read_model(CatalogModel(models_toml.load_catalog().models[0]), see=True)
    made = choose_plan(found, model_spec, PlanRequest())
    if not made.fits:
        return f"# {machine}: nothing fits, so that there is nothing to give up\n"
    rungs = ladder(made, load_recipe(made.machine.backend).run, {"Q3_K_M", "IQ3_XXS"})
    lines = [f"# {machine}: {made.variant.name}, {rungs[0].held_bytes:,} bytes", ""]
    for above, rung in pairwise(rungs):
        lines.append(f"{above.held_bytes - rung.held_bytes:>15,}  {rung.gives_up}")
    return "\n".join(lines) + "\n"


def document_text(name: str) -> str:
    """Return a plan's document as it is stored, by its name in `DOCUMENTS`."""
    machine = max((each for each in presets.names() if name.startswith(each)), key=len)
    return _as_text(planned(machine, DOCUMENTS[name]))


def machine_text(name: str) -> str:
    """Return the document of `steprun machine --json` on a machine known by name, as stored."""
    return _as_text(to_json(detect(Replay(presets.load_preset(name)))))


def _as_text(found: Any) -> str:
    return json.dumps(without_texts(found), indent=1) + "\n"


# Every file, and what gives its text.
FILES: dict[str, Callable[[], str]] = {
    **{f"launch/{name}.txt": partial(launch_lines, name) for name in presets.names()},
    **{f"ladder/{name}.txt": partial(ladder_text, name) for name in presets.names()},
    **{f"json/machine-{name}.json": partial(machine_text, name) for name in presets.names()},
    **{f"json/plan-{name}.json": partial(document_text, name) for name in DOCUMENTS},
}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        os.environ["STEPRUN_HOME"] = os.environ["HF_HOME"] = made
        for file, text in FILES.items():
            (DATA / file).write_text(text(), encoding="utf-8")
