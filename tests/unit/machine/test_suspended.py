"""How long this computer has slept."""

import shutil
import subprocess
import sys

import pytest

from runner.machine.suspended import suspended_s
from tests.conftest import ROOT

CODE = "from runner.machine.suspended import suspended_s; print(suspended_s())"


def test_it_stands_still_while_the_computer_is_awake() -> None:
    first = suspended_s()
    assert first > -0.1
    assert abs(suspended_s() - first) < 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can shift a clock for one process")
def test_it_counts_what_the_clocks_differ_by() -> None:
    """In a time namespace in which one clock is an hour ahead, as after an hour's sleep."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is not installed")
    line = [unshare, "--time", "--boottime", "3600", "--fork", sys.executable, "-c", CODE]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"No time namespaces here: {ran.stderr.strip()}")
    assert float(ran.stdout) - suspended_s() == pytest.approx(3600, abs=0.5)
