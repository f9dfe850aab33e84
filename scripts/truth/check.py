"""`scripts/check_ledger`: the engine's account of every combination, then real loads."""

import argparse
import sys
import time

import psutil
from msgspec import structs

from runner.base.units import GIB
from runner.engine.builder import recipe
from runner.engine.installed.store import embedded
from runner.engine.process import memory_probe
from runner.machine.facts import Backend
from truth import models, real, table


def main() -> int:
    """Print all rows; 1 where an error is larger than the project allows itself."""
    options = _options()
    began = time.monotonic()
    costs = recipe.load_recipe(Backend.CPU).run.costs
    if options.overhead_mib is not None:
        costs = structs.replace(costs, overhead_mib=options.overhead_mib)
    room = options.memory * GIB if options.memory else psutil.virtual_memory().available - 4 * GIB
    cases = models.cases(options.only, quick=options.quick)
    failed = False
    for name, program in (("embedded", embedded().program), (options.engine, (options.engine,))):
        if not name:
            continue
        errors = table.Errors()
        for case in cases:
            told = memory_probe.probe_memory(program, case.argv())
            print(table.oracle_row(case, told, costs, errors), flush=True)
        print(*table.summary(f"the account of {name}", errors), sep="\n", flush=True)
        failed = failed or _wrong(errors.largest, exact=name == "embedded")
    if not options.account:
        errors, left_out = table.Errors(), 0
        for case in cases:
            if table.planned_held(case, costs) > room:
                left_out += 1
                continue
            try:
                seen = real.load(case, table.prompt_tokens(case))
            except RuntimeError as error:
                print(f"{case}  {error}")
                failed = True
                continue
            print(table.real_row(case, seen, costs, errors), flush=True)
        print(*table.summary("real loads", errors), sep="\n")
        print(f"  {left_out} left out: they need more than {room / GIB:.0f} GiB")
        failed = failed or _wrong(errors.largest, exact=True)
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _wrong(largest: dict[str, float], *, exact: bool) -> bool:
    """Say whether an error is larger than the project allows itself; too much is forgiven more."""
    allowed = {"compute": 1.0, "whole process": 2.0}
    return any(
        abs(value) > next((most for word, most in allowed.items() if word in kind), 0.0)
        for kind, value in largest.items()
        if exact or "compute" not in kind
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="check_ledger")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--account", action="store_true")
    parser.add_argument("--only", choices=["tiny", "smol", "twin"], action="append")
    parser.add_argument("--memory", type=float, metavar="GIB", help="the most that a load may take")
    parser.add_argument("--overhead-mib", type=int, help="instead of the recipe's, to measure it")
    parser.add_argument("--engine", metavar="PATH", help="a llama-server to ask as well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
