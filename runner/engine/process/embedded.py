"""The embedded engine: llama-server out of the `xllamacpp` wheel, as a program of its own.

`python -m runner.engine.process.embedded FLAGS` takes those of llama-server's flags that
`flags.py` lists, and serves its HTTP API until it is stopped. It is always a child process: a
native crash ends this process, never the terminal.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import xllamacpp

from runner.engine.process.flags import FLAGS, Flag


def apply(params: Any, argv: Sequence[str]) -> None:
    """Set each flag in `params` (an xllamacpp.CommonParams).

    Raises ValueError naming the flag that is unknown, incomplete or has a value it cannot have.
    """
    words = iter(argv)
    for word in words:
        flag = FLAGS.get(word)
        if flag is None:
            raise ValueError(f"unknown flag {word}")
        given = next(words, None) if flag.takes_value else ""
        if given is None:
            raise ValueError(f"{word} needs a value")
        try:
            _put(params, flag.path, _value(flag, given))
        except (AttributeError, ValueError, OSError) as error:
            raise ValueError(f"{word} cannot be {given!r} ({error})") from error


def _value(flag: Flag, given: str) -> Any:
    match flag.kind:
        case "text":
            return given
        case "whole":
            return int(given)
        case "real":
            return float(given)
        case "set" | "unset":
            return flag.kind == "set"
        case "on-off":
            return given == "on"
        case "one-of":
            return _member(flag, given)
        case "types":
            return [_member(flag, given)]
        case "name":
            return {given}
        case "names":
            return [given]
        case "keys":
            lines = Path(given).read_text("utf-8").splitlines()
            return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _member(flag: Flag, given: str) -> Any:
    name = flag.spelled.get(given, given).upper().replace("-", "_")
    return getattr(getattr(xllamacpp, flag.enum), flag.prefix + name)


def _put(params: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        params = getattr(params, parent)
    setattr(params, last, value)


def devices() -> str:
    """Return the accelerators as llama-server's `--list-devices` prints them."""
    found = xllamacpp.get_device_info()
    cpu = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
    lines = [
        f"  {device['name']}: {device['description']} "
        f"({device['memory_total'] >> 20} MiB, {device['memory_free'] >> 20} MiB free)"
        for device in found
        if device["type"] != cpu
    ]
    return "\n".join(["Available devices:", *(lines or ["  (none)"])])


def usage() -> str:
    """Return the flags as llama-server's `--help` lists them."""
    lines = [f"{name} VALUE" if flag.takes_value else name for name, flag in FLAGS.items()]
    return "\n".join([*lines, "--list-devices", "--version", "--help"])


# What is answered at once, without a model.
_ASKED: Final[dict[tuple[str, ...], Callable[[], str]]] = {
    ("--list-devices",): devices,
    ("--help",): usage,
    ("--version",): lambda: f"version: {xllamacpp.__version__}",
}


def main(argv: Sequence[str]) -> int:
    """Serve until stopped by a signal. Returns 1 where the model does not load."""
    if tuple(argv) in _ASKED:
        sys.stdout.write(_ASKED[tuple(argv)]() + "\n")
        return 0
    params = xllamacpp.CommonParams()
    try:
        apply(params, argv)
        server = xllamacpp.Server(params)
    except (ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stderr.write(f"embedded engine ready on {server.listening_address}\n")
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
