"""Runs the checks of one module, in the environment of its client.

`python -m clients.run MODULE SITE LIMIT_S OUT`: SITE is JSON; OUT gets a JSON line for each check.
"""

import importlib
import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from clients.site import CHECKS, Check, NotOfferedError, Site

_MOST = 300  # letters of an error


def main(module: str, site: str, limit_s: str, out: str) -> None:
    """Run the checks, each for no longer than so many seconds."""
    importlib.import_module(f"clients.{module}")
    signal.signal(signal.SIGALRM, _too_long)
    with Path(out).open("a", encoding="utf-8") as file:
        for each in CHECKS:
            started = time.monotonic()
            result, words = _outcome(each, Site(**json.loads(site)), float(limit_s))
            line = {
                "feature": (each.__doc__ or each.__name__).partition("\n")[0].rstrip("."),
                "result": result,
                "words": " ".join(words.split())[:_MOST],
                "seconds_s": round(time.monotonic() - started, 2),
            }
            file.write(json.dumps(line) + "\n")
            file.flush()


def _outcome(check: Check, site: Site, limit_s: float) -> tuple[str, str]:
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return "passed", check(site) or ""
    except NotOfferedError as error:
        return "not offered", str(error)
    except Exception as error:  # noqa: BLE001 - whatever a client raises is the outcome
        return "failed", f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("There was no answer in time.")


main(*sys.argv[1:])
