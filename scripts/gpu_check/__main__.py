"""The command line of `scripts/check_gpu`."""

import argparse
import sys
from pathlib import Path

from gpu_check import prepare, report, steps
from gpu_check.host import gpus


def main() -> int:
    """Prepare a folder, or check this machine; 1 where a check failed, 3 where there is no GPU."""
    options = _options()
    if options.prepare:
        prepare.prepare(options.prepare, options.source or prepare.SOURCE, options.python)
        return 0
    if not options.cpu and not gpus():
        sys.stderr.write(
            "error: No NVIDIA GPU was found.\n"
            "  why:  nvidia-smi is not installed here, or lists no card.\n"
            "  next: scripts/check_gpu --cpu checks what can be checked without one.\n"
        )
        return 3
    check = steps.Check(
        cpu=options.cpu,
        prepared=options.prepared.resolve() if options.prepared else None,
        source=options.source,
        engine=options.engine,
        seconds=60 * options.minutes,
        home=options.home.resolve(),
    )
    found = report.collect(check)
    report.write(found, options.report)
    for line in report.lines(found):
        print(line)
    print(f"Report: {options.report}. Read it before you send it to anybody.")
    return 1 if report.failed(found) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="check_gpu")
    parser.add_argument("--prepare", type=Path, metavar="DIR", help="make a folder for --from")
    parser.add_argument(
        "--python",
        default=prepare.THIS_PYTHON,
        metavar="X.Y",
        help="with --prepare: the Python of the machine that will be checked",
    )
    parser.add_argument("--from", dest="prepared", type=Path, metavar="DIR", help="a prepared one")
    parser.add_argument("--cpu", action="store_true", help="what can be checked without a GPU")
    parser.add_argument("--source", help="what to build: as steprun engine build --source")
    parser.add_argument("--engine", metavar="NAME", help="an installed engine; nothing is built")
    parser.add_argument("--minutes", type=float, default=10, help="the check ends by then")
    parser.add_argument("--home", type=Path, default=Path(".check_gpu"), help="its STEPRUN_HOME")
    parser.add_argument("--report", type=Path, default=Path("gpu-report.json"), metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
