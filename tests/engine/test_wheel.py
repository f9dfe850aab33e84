"""The installed wheel of xllamacpp, served by an index of its own, fetched as a user does it."""

import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from runner.engine.installed import store
from runner.engine.installed.stamp import Kind
from tests.fakes.wheels import FakeIndex

pytestmark = pytest.mark.engine


def repacked(folder: Path) -> Path:
    """Return the wheel that xllamacpp was installed from, put together again."""
    here = distribution("xllamacpp")
    tag = re.search(r"^Tag: (\S+)", here.read_text("WHEEL") or "", re.MULTILINE)
    assert tag is not None
    made = folder / f"xllamacpp-{here.version}-{tag[1]}.whl"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as whole:
        for file in here.files or ():
            if "__pycache__" not in file.parts:
                whole.write(str(file.locate()), file.as_posix())
    return made


@pytest.mark.timeout(900)  # 45 s on two quiet cores
def test_a_wheel_is_fetched_tested_and_answers(tiny: Path, home: Path, tmp_path: Path) -> None:
    made = repacked(tmp_path)
    backend = str(store.embedded().stamp.backend)
    with FakeIndex({made.name: made.read_bytes()}) as index:
        index.list(backend, made.name)
        env = {**os.environ, "STEPRUN_HOME": str(home), "STEPRUN_WHEELS": index.url}
        steprun = [sys.executable, "-m", "runner"]
        line = [*steprun, "engine", "fetch", "--source", "xllamacpp", "--backend", backend]
        fetched = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
    assert fetched.returncode == 0, fetched.stderr
    assert f"Downloading {made.name}" in fetched.stderr
    engine = next(each for each in store.engines() if each.stamp.kind is Kind.WHEEL)
    assert engine.stamp.passed
    assert not engine.stamp.broken
    assert store.current().name == engine.name
    line = [*steprun, "chat", "-p", "Is it warm?", "--model", str(tiny / "tiny-step.gguf")]
    said = subprocess.run(
        [*line, "--ctx", "8192", "--max-tokens", "200"],
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert engine.name in said.stderr
    assert said.stdout.strip()
