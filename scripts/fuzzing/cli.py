"""Runs many cases in two processes and reports: outcomes, the slowest, memory, and any fault."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from fuzzing import case

OUT = Path(__file__).resolve().parents[2] / ".cache" / "fuzz"
MEMORY_LIMIT = 400 << 20  # bytes; the modules alone take about 60 MB
SHOWN = 5
BATCH = 500


@dataclass
class Report:
    """What came of some cases. `slowest`: seconds and number; `faults`: number and trace."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)
    peak_bytes: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Take in another report."""
        self.outcomes += other.outcomes
        self.slowest = max(self.slowest, other.slowest)
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        self.faults += other.faults


def main(argv: list[str]) -> int:
    """Run the cases; 1 if any crashed, hung or took too much memory."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="cases (default 2,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="only this one, with its trace")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for inputs that fail")
    options = parser.parse_args(argv)
    if options.case is not None:
        print(case.tell(case.make(options.seed, options.case), options.case))
        return 0
    began, report = time.monotonic(), Report()
    starts = range(0, options.count, BATCH)
    work = [(options.seed, start, min(start + BATCH, options.count)) for start in starts]
    with get_context("spawn").Pool(options.jobs) as pool:
        for done, part in enumerate(pool.imap_unordered(_run, work), 1):
            report.add(part)
            _progress(done * BATCH, options.count, len(report.faults))
    _print(report, options.count, time.monotonic() - began)
    _save(report, options.seed, options.out)
    return 1 if report.faults or report.peak_bytes > MEMORY_LIMIT else 0


def _run(work: tuple[int, int, int]) -> Report:
    """Run the cases of one batch."""
    seed, first, last = work
    report = Report()
    case.warm()
    for number in range(first, last):
        lie = case.make(seed, number)
        began = time.process_time()
        try:
            outcome = case.tell(lie, number)
        except (Exception, case.Hang) as error:  # noqa: BLE001 - to find them is the purpose
            outcome = "HANG" if isinstance(error, case.Hang) else "CRASH"
            report.faults.append((number, traceback.format_exc()))
        report.slowest = max(report.slowest, (time.process_time() - began, number))
        report.outcomes[f"{lie.kind}: {outcome}"] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report.peak_bytes = peak if sys.platform == "darwin" else peak << 10
    return report


def _progress(done: int, count: int, faults: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{min(done, count):,} of {count:,}, {faults} faults")
        sys.stderr.write("\n" if done >= count else "")


def _print(report: Report, count: int, seconds: float) -> None:
    print(f"{count:,} cases in {seconds:.1f} s ({1000 * seconds / max(count, 1):.2f} ms each)")
    for outcome, number in sorted(report.outcomes.items()):
        print(f"  {number:>9,}  {outcome}")
    slow_s, slow = report.slowest
    print(
        f"slowest: case {slow}, {1000 * slow_s:.0f} ms; peak memory {report.peak_bytes >> 20} MiB"
    )


def _save(report: Report, seed: int, out: Path) -> None:
    """Keep the inputs that failed, and name the first few."""
    for number, trace in sorted(report.faults):
        lie = case.make(seed, number)
        out.mkdir(parents=True, exist_ok=True)
        ending = "gguf" if lie.kind == "header" else "json"
        path = out / f"{seed}-{number}.{ending}"
        path.write_bytes(lie.data)
        path.with_suffix(".txt").write_text(f"size {lie.size}\n{trace}", encoding="utf-8")
    for number, trace in sorted(report.faults)[:SHOWN]:
        last = trace.rstrip().rpartition("\n")[2]
        print(f"fault in case {number}: {last} (again: --seed {seed} --case {number})")
    if report.faults:
        print(f"{len(report.faults)} faults; inputs in {os.fspath(out)}")
