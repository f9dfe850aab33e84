import shlex
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.tui.paste import PATH_CHARS, picture_paths

FILES = {
    "/home/u/a.png",
    "/home/u/my cat.jpg",
    "/home/u/it's.webp",
    "/home/u/100%.png",
    "/home/u/a#b.png",
    "/home/u/back\\slash.png",
    "/home/u/one.png two.png",
    "/home/u/notes.txt",
    "pic.png",
    "C:\\Users\\u\\my cat.png",
    "C:/Users/u/a.png",
    "//server/share/a.png",
}


def found(text: str, *, windows: bool = False) -> list[str]:
    return picture_paths(text, FILES.__contains__, windows=windows, home="/home/u")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/u/a.png", ["/home/u/a.png"]),
        ("  /home/u/a.png\n", ["/home/u/a.png"]),
        ("'/home/u/my cat.jpg'", ["/home/u/my cat.jpg"]),
        ('"/home/u/my cat.jpg"', ["/home/u/my cat.jpg"]),
        ("/home/u/my\\ cat.jpg", ["/home/u/my cat.jpg"]),
        ("/home/u/my cat.jpg", ["/home/u/my cat.jpg"]),
        ("file:///home/u/my%20cat.jpg", ["/home/u/my cat.jpg"]),
        ("file://localhost/home/u/my%20cat.jpg", ["/home/u/my cat.jpg"]),
        ("file:///home/u/100%25.png", ["/home/u/100%.png"]),
        ("file:///home/u/a#b.png", ["/home/u/a#b.png"]),
        ("~/a.png", ["/home/u/a.png"]),
        ("pic.png", ["pic.png"]),
        ("/home/u/it\\'s.webp", ["/home/u/it's.webp"]),
        ("'/home/u/it'\\''s.webp'", ["/home/u/it's.webp"]),
        ("/home/u/back\\slash.png", ["/home/u/back\\slash.png"]),
        ("/home/u/one.png two.png", ["/home/u/one.png two.png"]),
        ("/home/u/a.png /home/u/my\\ cat.jpg", ["/home/u/a.png", "/home/u/my cat.jpg"]),
        ("'/home/u/a.png' '/home/u/my cat.jpg'", ["/home/u/a.png", "/home/u/my cat.jpg"]),
        ("/home/u/a.png\n/home/u/my cat.jpg\n", ["/home/u/a.png", "/home/u/my cat.jpg"]),
        (
            "file:///home/u/a.png\r\nfile:///home/u/100%25.png",
            ["/home/u/a.png", "/home/u/100%.png"],
        ),
    ],
)
def test_the_forms_in_which_terminals_drop_files(text, expected):
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"C:\\Users\\u\\my cat.png"', ["C:\\Users\\u\\my cat.png"]),
        ("C:\\Users\\u\\my cat.png", ["C:\\Users\\u\\my cat.png"]),
        ("file:///C:/Users/u/a.png", ["C:/Users/u/a.png"]),
        ("file://server/share/a.png", ["//server/share/a.png"]),
        (
            'C:/Users/u/a.png "C:\\Users\\u\\my cat.png"',
            ["C:/Users/u/a.png", "C:\\Users\\u\\my cat.png"],
        ),
    ],
)
def test_windows_paths(text, expected):
    assert found(text, windows=True) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "look at /home/u/a.png",
        "/home/u/notes.txt",
        "/home/u/gone.png",
        "/home/u/a.png /home/u/gone.png",
        "file://[",
        "'",
        "\\",
        "x" * (PATH_CHARS * 20) + ".png",
        "a\0b.png",
    ],
)
def test_what_is_just_text(text):
    assert found(text) == []


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="/"),
    min_size=1,
    max_size=30,
).map(lambda name: f"/pics/{name.strip()}x.png")


@given(NAMES, st.sampled_from(["bare", "quoted", "escaped", "url"]))
def test_any_name_is_found(path, form):
    text = {
        "bare": path,
        "quoted": shlex.quote(path),
        "escaped": "".join(f"\\{c}" if not c.isalnum() and c != "/" else c for c in path),
        "url": f"file://{quote(path)}",
    }[form]
    assert picture_paths(text, {path}.__contains__) == [path]


@given(st.lists(NAMES, min_size=2, max_size=5, unique=True))
def test_several_names_are_found(paths):
    text = " ".join(shlex.quote(path) for path in paths)
    assert picture_paths(text, set(paths).__contains__) == paths


@given(st.text(max_size=200), st.booleans())
def test_no_text_breaks_it(text, windows):
    assert picture_paths(text, lambda _: False, windows=windows) == []
