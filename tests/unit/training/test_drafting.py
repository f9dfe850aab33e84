"""What is counted of the MTP heads' drafts, from an engine's log."""

from collections import Counter
from pathlib import Path

import pytest

from training import drafting

LOG = """
slot print_timing: id  0 | draft acceptance = 0.66667 (   20 accepted /    30 generated), mean len
slot print_timing: id  0 |      acc per pos = (0.900, 0.600, 0.500)
slot print_timing: id  0 | draft acceptance = 0.00000 (    0 accepted /     6 generated), mean len
slot print_timing: id  0 |      acc per pos = (0.000, 0.000, 0.000)
"""


def test_each_head_is_counted_over_all_answers() -> None:
    steps, accepted = drafting.read_log(LOG)
    assert steps == pytest.approx(12)
    assert accepted == pytest.approx((9, 6, 5))
    assert drafting.read_log("") == (0.0, (0.0, 0.0, 0.0))


def test_the_counts_are_lines_of_a_table() -> None:
    lines = str(drafting.Drafts(4, 4, 12.0, (9.0, 6.0, 5.0), (3000.0, 1500.0))).splitlines()
    assert lines[0].split()[-3:] == ["4", "of", "4"]
    assert "75.0% of 12 drafts,  75.0% where" in lines[1]
    assert "50.0% of 12 drafts,  66.7% where" in lines[2]
    assert lines[-1].endswith("ratio 0.50")


def test_prompts_are_of_every_sort() -> None:
    kinds = Counter(question.kind for question in drafting.prompts(20))
    assert {"weather", "zoom", "thinking", "colour"} <= kinds.keys()
    assert kinds["weather"] == kinds["zoom"] == 5
    assert sum(kinds.values()) == 20


def test_heads_in_a_file_of_their_own_are_found(tmp_path: Path) -> None:
    assert drafting.beside(tmp_path / "a.gguf") is None
    (tmp_path / "a-mtp-Q8_0.gguf").touch()
    assert drafting.beside(tmp_path / "a.gguf") == tmp_path / "a-mtp-Q8_0.gguf"
