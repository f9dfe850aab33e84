"""Text that is not trusted, such as a model's."""

from hypothesis import given
from hypothesis import strategies as st

from runner.base.text import clean, clean_name


def test_control_characters_do_not_pass():
    assert clean("a\x1b[31mb\x07\x9b\r\nc\rd\te") == "a[31mb\nc\nd\te"
    assert clean("\ud83d") == "\N{REPLACEMENT CHARACTER}"
    assert clean_name("a\nb\u202egnp.exe") == "a bgnp.exe"
    assert len(clean_name("x" * 500)) == 40
    assert clean_name("\x07") == "picture"


@given(st.text(st.characters(), max_size=300))
def test_clean_text_can_be_written(text):
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in cleaned)
