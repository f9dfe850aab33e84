"""Which driver an accelerator has: what was learnt with one need not hold with another."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from runner.machine.facts import Backend
from runner.machine.probes.read import strip_codes

# The other drivers are parts of the kernel, or of macOS, and change with it.
_MODULES: Final = {Backend.CUDA: "nvidia", Backend.ROCM: "amdgpu"}
_MOST: Final = 60


def driver(backend: Backend, kernel: str, root: Path = Path("/")) -> str:
    """Return its name and version; `kernel`: the kernel's, where the driver is a part of it."""
    if backend is Backend.CPU:
        return "no driver"
    with suppress(OSError, ValueError):
        name = _MODULES.get(backend, "nvidia")
        with (root / "sys/module" / name / "version").open(encoding="utf-8") as file:
            return f"{name} {strip_codes(file.read(_MOST), _MOST)}"
    return f"kernel {strip_codes(kernel, _MOST)}"
