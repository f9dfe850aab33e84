"""`scripts/measure_chat` runs, and its figures are those of a chat that works."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.terminal,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def test_it_measures_this_checkout(tmp_path):
    report = tmp_path / "rates.json"
    options = ["--answers", "1", "--seconds", "2", "--starts", "0", "--bursts", "0.01"]
    argv = [sys.executable, str(ROOT / "scripts" / "measure_chat"), *options, "--json", str(report)]
    subprocess.run(argv, check=True, timeout=240)
    figures = json.loads(report.read_text())
    assert list(figures) == [
        *("start", "1 answers", "in a long list", "in a long code"),
        *("40,000 event", "200 words", "30 lines"),
    ]
    assert figures["1 answers"]["shown_per_s"] > 0
    assert figures["1 answers"]["key_ms"][1] > 0
    assert all(figures[name]["whole"] for name in list(figures)[4:])
