"""A short soak: nothing is lost without a word while the engine is killed under load.

`scripts/soak_gateway` does the same for half an hour.
"""

import sys
from pathlib import Path

import pytest

from gateway_checks.serving import gateway
from gateway_checks.soak import Plan, soak
from tests.engine.conftest import ONE_THREAD

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PLAN = Plan(
    minutes=0.4,
    clients=4,
    every_s=4,
    limit_s=120,
    hang_s=60,
    seed=1,
    actions=("kill", "pause"),
    quiet_s=1,
)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL and no SIGSTOP")
async def test_nothing_is_lost_while_the_engine_is_killed(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    arguments = ["--model", str(tiny / "tiny-step.gguf"), "--ctx", "8192", "--parallel", "4"]
    with gateway(tmp_path / "served", arguments) as served:
        report = await soak(served, PLAN, sees=True)
    assert report["lost"] == 0, report["losses"]
    assert report["serve_ended"] is None
    assert report["health_ms"]["lost"] == 0
    assert report["answered"] > 0
    assert any(each["result"] == "another engine" for each in report["disturbed"]), report
