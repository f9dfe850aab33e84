"""Launch lines and JSON documents against the files in tests/data that pin them."""

import pytest

from tests.unit.plan import golden


@pytest.mark.parametrize("file", golden.FILES)
def test_launch_lines_and_documents_are_the_pinned_ones(file: str) -> None:
    """Compared as text, which also tells true from 1 and 1 from 1.0."""
    assert golden.FILES[file]() == (golden.DATA / file).read_text(encoding="utf-8")


def test_no_pinned_file_is_left_over() -> None:
    kept = {
        path for folder in ("launch", "ladder", "json") for path in (golden.DATA / folder).iterdir()
    }
    assert kept == {golden.DATA / file for file in golden.FILES}


def test_only_texts_that_are_there_are_left_out() -> None:
    found = golden.without_texts({"why": "", "reasons": ["so"], "name": "x", "source": None})
    assert found == {"why": "", "reasons": [golden.TEXT], "name": "x", "source": None}
