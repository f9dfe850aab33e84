"""The standard streams of a program that was started without one (`>&-`, a service, pythonw)."""

import os
import sys


def open_missing() -> None:
    """Open the null device in place of each standard stream that is closed.

    Python has None there. And the next file that is opened would get the stream's number: what a
    library then prints would be written into that file.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
            place: int | str = os.devnull  # something else has the number by now
        except OSError:
            place = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
        setattr(sys, name, open(place, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - as long as we run
