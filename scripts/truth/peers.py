"""Other programs' predictions for the same files. Each gets the same settings, where it takes any.

Chosen from the package registry because they read GGUF files, or know SmolLM2 by name, and say
how much memory a llama-server would take: llama-mdl, ggufit, clanker-gguf. Also llama.cpp's own
llama-fit-params, with its defaults.
"""

import argparse
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from msgspec import structs

from runner.base.units import GIB, MIB
from runner.engine.builder import recipe
from runner.engine.installed.store import embedded
from runner.engine.process import memory_probe
from runner.machine.facts import Backend
from runner.plan.memory.compute_buffers import Costs
from runner.plan.memory.kv_cache import Config
from runner.plan.memory.ledger import LedgerEntry
from truth import models, real, table
from truth.grid import Case

PACKAGES = ("llama-mdl==0.14.0", "ggufit==0.3.0", "clanker-gguf==1.2.0")
CONFIGS = (
    ("smol", Config(8192, "f16", 512, 1, checkpoints=0)),
    ("smol", Config(8192, "q8_0", 2048, 4, checkpoints=0)),
    ("tiny", Config(32_768, "f16", 512, 1, checkpoints=0)),
    ("tiny", Config(131_072, "q8_0", 2048, 1, checkpoints=0)),
    ("twin", Config(32_768, "f16", 512, 1, checkpoints=0)),
    ("twin", Config(131_072, "q8_0", 512, 1, checkpoints=0)),
    ("twin", Config(262_144, "q8_0", 2048, 1, checkpoints=0)),
)
# The bytes that llama-mdl's model of a file gives for a launch line, without a search for a better
# one: its command refuses a model that this machine has no room for.
_MDL = """
import sys
from mdl_fit import gguf, model
flags = model.parse_argv(sys.argv[2:])[0]
print(model.memory(model.Shape(gguf.load(sys.argv[1])), flags).on_host().host)
"""

Peer = Callable[[Path, Case], int | None]


def main() -> int:
    """Print the table; 1 where the peers cannot be had."""
    options = _options()
    home = models.CACHE / "peers"
    try:
        programs = _programs(home)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        sys.stderr.write(f"The peers cannot be installed (is there a network?):\n{said}\n")
        return 1
    costs = recipe.load_recipe(Backend.CPU).run.costs
    if options.overhead_mib is not None:
        costs = structs.replace(costs, overhead_mib=options.overhead_mib)
    every: dict[str, Peer] = {
        "llama-mdl 0.14.0": _mdl,
        "ggufit 0.3.0": _ggufit,
        "clanker-gguf 1.2.0": _clanker,
    }
    if options.engine:
        every["llama-fit-params"] = lambda _, case: _fit_params(options.engine, case)
    print(f"steprun (this tree); the engine: xllamacpp {version('xllamacpp')}")
    known = {model.name: model for model in models.models()}
    for name, config in CONFIGS:
        case = Case(known[name], config)
        told = memory_probe.probe_memory(embedded().program, case.argv())
        if told is None:
            print(f"{case}  the engine gave no account")
            continue
        _line(f"{case}  the engine's account", told.total)
        _line("    steprun", _ours(case, costs), told.total)
        theirs = {peer: ask(programs, case) for peer, ask in every.items()}
        for peer, size in theirs.items():
            _line(f"    {peer}", size, told.total)
        held = table.planned_held(case, costs)
        if not options.account and held < options.memory * GIB:
            seen = real.load(case, table.prompt_tokens(case))
            weights = case.items(costs)[LedgerEntry.WEIGHTS]
            _line("  the whole process", seen.held + weights)
            _line("    steprun", held + weights, seen.held + weights)
            for peer, size in theirs.items():
                _line(f"    {peer}", size, seen.held + weights)
    return 0


def _line(name: str, size: int | None, truth: int = 0) -> None:
    if size is None:
        print(f"{name:55} {'says nothing':>14}")
        return
    off = (
        f"{(size - truth) / MIB:+10.1f} MiB {100 * (size - truth) / truth:+9.2f} %" if truth else ""
    )
    print(f"{name:55} {size / MIB:10.1f} MiB {off}", flush=True)


def _ours(case: Case, costs: Costs) -> int:
    """Return what of the ledger the engine's account covers."""
    items = case.items(costs)
    covered = (
        LedgerEntry.WEIGHTS,
        LedgerEntry.KV_FULL,
        LedgerEntry.KV_SLIDING,
        LedgerEntry.COMPUTE,
    )
    return sum(items.get(entry, 0) for entry in covered)


def _programs(home: Path) -> Path:
    """Return the peers' programs, installed once."""
    programs = home / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    stamp = home / "installed"
    if not stamp.exists() or stamp.read_text("ascii") != " ".join(PACKAGES):
        venv.create(home / "venv", with_pip=True)
        subprocess.run(
            [programs / "python", "-m", "pip", "install", "--quiet", *PACKAGES],
            check=True,
            capture_output=True,
            text=True,
            timeout=600,
        )
        stamp.write_text(" ".join(PACKAGES), "ascii")
    return programs


def _run(*words: str | Path) -> str:
    """Run a peer in a home of its own and return what it says, whatever its status."""
    home = models.CACHE / "peers" / "home"
    home.mkdir(parents=True, exist_ok=True)
    path = f"{Path(words[0]).parent}:/usr/bin:/bin"
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"HOME": str(home), "PATH": path, "COLUMNS": "200", "LC_ALL": "C.UTF-8"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _mdl(programs: Path, case: Case) -> int | None:
    said = _run(programs / "python", "-c", _MDL, case.model.files.weights, *_flags(case))
    return int(said) if said.strip().isdigit() else None


def _ggufit(programs: Path, case: Case) -> int | None:
    """Ask by name, as it takes no files; Step is not in its catalogue, and tiny Step nowhere."""
    if case.model.name != "smol":
        return None
    c = case.config
    words = ("--context", str(c.context), "--users", str(c.parallel), "--quant", "q4", "--offline")
    found = re.search(r"needs ([\d.]+) GB", _run(programs / "ggufit", "smollm2-135m", *words))
    return round(float(found[1]) * GIB) if found else None


def _clanker(programs: Path, case: Case) -> int | None:
    """Add up its cache, its backbone and its experts; it asks about no micro-batch."""
    c = case.config
    words = ("--context", str(c.context), "--ctk", c.kv_type, "--ctv", c.kv_type)
    said = _run(
        *(programs / "clanker", "run", case.model.files.weights),
        *(*words, "--np", str(c.parallel), "--backend", "llama"),
    )
    found = re.findall(r"(?:KV cache|Backbone|Experts): +(\d+) MB", said)
    return sum(map(int, found)) * MIB if len(found) == 3 else None


def _fit_params(engine: str, case: Case) -> int | None:
    words = ("-m", str(case.model.files.weights), "-fit", "off", "--fit-print", "on", "-lv", "4")
    told = memory_probe.parse_breakdown(_run(engine, *words, *_flags(case)).splitlines())
    return told.total if told else None


def _flags(case: Case) -> list[str]:
    c = case.config
    return [
        *("-ngl", "0", "-c", str(c.context * c.parallel), "-np", str(c.parallel)),
        *("-fa", "on", "-ctk", c.kv_type, "-ctv", c.kv_type),
        *("-b", "2048", "-ub", str(c.ubatch)),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compare_ledgers")
    parser.add_argument("--engine", metavar="PATH", help="a llama-fit-params to ask as well")
    parser.add_argument("--account", action="store_true", help="no real loads")
    parser.add_argument("--memory", type=float, default=8.0, metavar="GIB", help="of a real load")
    parser.add_argument("--overhead-mib", type=int, help="instead of the recipe's")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
