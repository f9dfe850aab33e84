"""`scripts/measure_chat` runs, and its figures are those of a chat that works."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chat_rates.table import goal, table

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.terminal,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def test_it_measures_this_checkout(tmp_path):
    report = tmp_path / "rates.json"
    options = ["--answers", "1", "--seconds", "2", "--starts", "0", "--bursts", "0.01"]
    argv = [sys.executable, str(ROOT / "scripts" / "measure_chat"), *options, "--json", str(report)]
    ran = subprocess.run(argv, check=True, timeout=240, capture_output=True, text=True)
    report = json.loads(report.read_text())
    assert list(report) == ["steprun"]
    figures = report["steprun"]
    assert list(figures) == [
        *("start", "1 answers", "in a long list", "in a long paragraph", "in a long code"),
        *("40,000 event", "200 words", "30 lines"),
    ]
    assert figures["1 answers"]["shown_per_s"] > 0
    assert figures["1 answers"]["key_ms"][1] > 0
    assert figures["1 answers"]["written_kb_per_s"] > 0
    assert all(figures[name]["whole"] for name in list(figures)[5:])
    assert "| 1 answers" in ran.stdout


def test_the_table_sets_figures_beside_those_of_a_peer():
    own = {"200 answers": {"focus_out_ms": [20, 40], "shown_per_s": 60.0}}
    peer = {"200 answers": {"focus_out_ms": [50, 90]}}
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table({"steprun": own, "oterm": peer}).split("\n")
    ]
    assert rows[0] == ["stage", "figure", "goal", "steprun", "oterm", "ratio"]
    assert rows[2] == ["200 answers", "focus_out_ms", "< 60", "20 / 40", "50 / 90", "2.50"]
    assert rows[3] == ["200 answers", "shown_per_s", ">= 55", "60.0", "", ""]
    assert goal("4,000,000 event", "key_cpu_ms")
    assert not goal("0 answers", "key_cpu_ms")
