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

from runner.engine.process.flags import FLAGS, Flag, Kind

_CARDS: Final = 128  # LLAMA_MAX_DEVICES: the length that CommonParams takes, and no other
# What llama-server makes of --n-cpu-moe, for each layer (common.h, LLM_FFN_EXPS_REGEX).
_EXPERTS: Final = r"blk\.{}\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU"


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
            _put(params, flag.path, _VALUES[flag.kind](flag, given))
        except (AttributeError, ValueError, OSError) as error:
            raise ValueError(f"{word} cannot be {given!r} ({error})") from error


def _member(flag: Flag, given: str) -> Any:
    name = flag.spelled.get(given, given).upper().replace("-", "_")
    return getattr(getattr(xllamacpp, flag.enum), flag.prefix + name)


def _keys(_: Flag, given: str) -> list[str]:
    lines = Path(given).read_text("utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _shares(_: Flag, given: str) -> list[float]:
    shares = [float(share) for share in given.split(",")]
    if len(shares) > _CARDS:
        raise ValueError(f"at most {_CARDS} cards")
    return shares + [0.0] * (_CARDS - len(shares))


def _experts(_: Flag, given: str) -> str:
    return ",".join(_EXPERTS.format(layer) for layer in range(int(given)))


# What each kind of flag makes of its value.
_VALUES: Final[dict[Kind, Callable[[Flag, str], Any]]] = {
    "text": lambda _, given: given,
    "whole": lambda _, given: int(given),
    "real": lambda _, given: float(given),
    "set": lambda _, __: True,
    "unset": lambda _, __: False,
    "on-off": lambda _, given: given == "on",
    "one-of": _member,
    "types": lambda flag, given: [_member(flag, given)],
    "name": lambda _, given: {given},
    "names": lambda _, given: [given],
    "keys": _keys,
    "shares": _shares,
    "experts": _experts,
}


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
