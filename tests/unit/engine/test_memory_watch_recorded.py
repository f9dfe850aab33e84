"""The watch's meter reads recorded machines as the probes do, from the files as captured."""

from pathlib import Path

import pytest

from runner.engine.process.memory_watch import LinuxMeter
from runner.machine.captures import capture, presets
from runner.machine.probes.host import Notes, read_host

LINUX = [n for n in presets.names() if presets.load_preset(n).platform.startswith("linux")]
GIB = 1 << 30


def lay_out(found: capture.Capture, root: Path) -> Path:
    for name, text in found.files.items():
        if name.startswith(("/proc/", "/sys/fs/cgroup/")) and text is not None:
            path = root / name.strip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


@pytest.mark.parametrize("name", LINUX)
def test_a_recorded_machine_has_left_what_its_probes_say(name: str, tmp_path: Path) -> None:
    found = presets.load_preset(name)
    host = read_host(capture.Replay(found), Notes())
    assert host.available_bytes is not None
    meter = LinuxMeter(1, 0, lay_out(found, tmp_path))
    left = meter.left()
    meter.close()
    assert left == host.available_bytes


def test_on_a_gb10_what_the_driver_takes_is_missing_from_what_is_left(tmp_path: Path) -> None:
    """No process shows it, and the kernel names it nowhere: it is only no longer available."""
    root = lay_out(presets.load_preset("dgx-spark"), tmp_path)
    meter, path = LinuxMeter(1, 0, root), root / "proc/meminfo"
    idle, taken = meter.left(), 98 * GIB
    assert idle is not None
    path.write_text(path.read_text().replace(f"{idle >> 10} kB", f"{(idle - taken) >> 10} kB"))
    assert meter.left() == idle - taken
    meter.close()
