"""A FAKE of the package llama-cpp-python: its real name, an in-tree build, and no model.

pip builds and installs it for real, in seconds and without a network. Its build goes through
`STEPS` steps like ninja would, remembers the finished ones in the build folder that it is given,
and does what `FAKE_BUILD` in its environment says: `fail`, `no network`, or `hang`.
"""

import io
import os
import shutil
import signal
import sys
import tarfile
from pathlib import Path

from runner.base.progress import OnProgress, ignore
from runner.engine.builder import needs, recipe
from runner.engine.builder.recipe_rows import Tools
from runner.engine.installed import store
from runner.engine.llama_cpp_python import install as python
from runner.machine.captures import capture, presets
from runner.machine.facts import Backend
from runner.machine.probe import detect
from runner.net import packages

STEPS = 3
_TOP = "llama_cpp_python-0.3.36"
_PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "llama_cpp_python"
version = "0.3.36"
"""
_BACKEND = """
import json, os, sys, time, zipfile
from pathlib import Path

INFO = "llama_cpp_python-0.3.36.dist-info"
NAME = "Name: llama_cpp_python\\nVersion: 0.3.36\\n"
META = f"Metadata-Version: 2.1\\n{NAME}Provides-Extra: server\\n"
WHEEL = "Wheel-Version: 1.0\\nGenerator: fake\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"


def prepare_metadata_for_build_wheel(folder, config_settings=None):
    place = Path(folder, INFO)
    place.mkdir()
    (place / "METADATA").write_text(META)
    (place / "WHEEL").write_text(WHEEL)
    return INFO


def build_wheel(folder, config_settings=None, metadata_directory=None):
    out = Path(config_settings["build-dir"])
    out.mkdir(parents=True, exist_ok=True)
    mode = os.environ.get("FAKE_BUILD", "")
    if mode == "no network":
        sys.exit("WARNING: Retrying after connection broken by 'NewConnectionError(...)'")
    objects = [out / f"{number}.o" for number in range(1, STEPS + 1)]
    left = [path for path in objects if not path.exists()]
    for number, path in enumerate(left, 1):
        if path == objects[-1] and mode == "fail":
            print("llama.cpp:7:1: error: expected unqualified-id before '}' token", flush=True)
            sys.exit(1)
        if path == objects[-1] and mode == "hang":
            (out / "hangs").write_text(str(os.getpid()))
            time.sleep(600)
        path.touch()
        print(f"[{number}/{len(left)}] Building CXX object {path.name}", flush=True)
        time.sleep(0.15)
    name = "llama_cpp_python-0.3.36-py3-none-any.whl"
    built = {key: os.environ.get(key) for key in ("CMAKE_ARGS", "CMAKE_BUILD_PARALLEL_LEVEL")}
    with zipfile.ZipFile(Path(folder, name), "w") as wheel:
        wheel.writestr("llama_cpp/__init__.py", "")
        wheel.writestr("llama_cpp/built.json", json.dumps(built))
        wheel.writestr(f"{INFO}/METADATA", META)
        wheel.writestr(f"{INFO}/WHEEL", WHEEL)
        wheel.writestr(f"{INFO}/RECORD", "")
    return name
""".replace("STEPS", str(STEPS))


def write(archive: Path) -> None:
    """Write the package's source archive."""
    files = {"pyproject.toml": _PROJECT, "backend.py": _BACKEND, "vendor/llama.cpp/README": "fake"}
    with tarfile.open(archive, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{_TOP}/{name}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))


def install(archive: Path, progress: OnProgress = ignore) -> store.InstalledEngine:
    """Run the real installation on the fake package; nothing is asked of this machine's tools."""

    def download(package: packages.Package, work: Path, report: OnProgress) -> Path:
        work.mkdir(parents=True)
        return Path(shutil.copy(archive, work / "archive"))

    machine = detect(capture.Replay(presets.load_preset("cpu-128")))
    before = needs.find_tools, packages.download
    needs.find_tools, packages.download = lambda *_: Tools(), download
    try:
        return python.install(recipe.load_recipe(Backend.CPU), machine, progress)
    finally:
        needs.find_tools, packages.download = before


if __name__ == "__main__":  # for a test that kills it
    # What a shell starts in the background ignores a Ctrl-C, and hands that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["FAKE_BUILD"] = sys.argv[2]
    install(Path(sys.argv[1]))
