import shlex
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.tui.paste import PATH_CHARS, find_pictures, picture_paths

NARROW = "\u202f"
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
    f"/home/u/Shot at 4.42.48{NARROW}PM.png",
    "/mnt/c/Users/u/my cat.png",
    "D:\\Users\\u\\my cat.png",
    "C:/Users/u/a.png",
    "//server/share/a.png",
}


def there(path: str) -> str | None:
    return path if path in FILES else None


def found(text: str, *, windows: bool = False, wsl: bool = False) -> list[str]:
    return picture_paths(text, there, windows=windows, wsl=wsl, home="/home/u")


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
            f"/home/u/Shot\\ at\\ 4.42.48{NARROW}PM.png /home/u/a.png",
            [f"/home/u/Shot at 4.42.48{NARROW}PM.png", "/home/u/a.png"],
        ),
        (
            "file:///home/u/Shot%20at%204.42.48%E2%80%AFPM.png",
            [f"/home/u/Shot at 4.42.48{NARROW}PM.png"],
        ),
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
        ('"D:\\Users\\u\\my cat.png"', ["D:\\Users\\u\\my cat.png"]),
        ("D:\\Users\\u\\my cat.png", ["D:\\Users\\u\\my cat.png"]),
        ("file:///C:/Users/u/a.png", ["C:/Users/u/a.png"]),
        ("file://server/share/a.png", ["//server/share/a.png"]),
        (
            'C:/Users/u/a.png "D:\\Users\\u\\my cat.png"',
            ["C:/Users/u/a.png", "D:\\Users\\u\\my cat.png"],
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
    assert picture_paths(text, lambda each: each if each == path else None) == [path]


@given(st.lists(NAMES, min_size=2, max_size=5, unique=True))
def test_several_names_are_found(paths):
    text = " ".join(shlex.quote(path) for path in paths)
    assert picture_paths(text, lambda each: each if each in paths else None) == paths


@given(st.text(max_size=200), st.booleans())
def test_no_text_breaks_it(text, windows):
    assert picture_paths(text, lambda _: None, windows=windows) == []


@pytest.mark.parametrize(
    "text",
    [
        "C:\\Users\\u\\my cat.png",
        '"C:\\Users\\u\\my cat.png"',
        "c:/Users/u/my cat.png",
        "file:///C:/Users/u/my%20cat.png",
    ],
)
def test_a_path_of_windows_under_wsl(text):
    assert found(text, wsl=True) == ["/mnt/c/Users/u/my cat.png"]
    assert found(f"{text}\n/home/u/a.png", wsl=True)[1:] == ["/home/u/a.png"]


def test_several_paths_of_windows_under_wsl():
    text = '"C:\\Users\\u\\my cat.png" "C:\\Users\\u\\my cat.png"'
    assert found(text, wsl=True) == ["/mnt/c/Users/u/my cat.png"] * 2
    assert found("/home/u/my\\ cat.jpg", wsl=True) == ["/home/u/my cat.jpg"]


@pytest.mark.parametrize("blank", [NARROW, "\u00a0", " ", "\u2009"])
@pytest.mark.parametrize("typed", [NARROW, "\u00a0", " "])
def test_blanks_that_a_terminal_has_changed(tmp_path, blank, typed):
    folder = tmp_path / f"cafe\u0301{blank}x"
    folder.mkdir()
    file = folder / f"Shot at 4{blank}PM.png"
    file.touch()
    text = f"{tmp_path}/caf\u00e9{typed}x/Shot at 4{typed}PM.png"
    escaped = text.replace(" ", "\\ ")
    for each in (text, escaped, f"'{text}'", f"file://{quote(text)}"):
        assert find_pictures(each) == [str(file)], each
    assert find_pictures(f"{escaped} {escaped}") == [str(file)] * 2


def test_two_files_that_differ_only_in_blanks_are_not_guessed_between(tmp_path):
    for blank in (NARROW, "\u00a0"):
        (tmp_path / f"a{blank}b.png").touch()
    assert find_pictures(f"{tmp_path}/a b.png") == []
    assert find_pictures(f"{tmp_path}/a{NARROW}b.png") == [f"{tmp_path}/a{NARROW}b.png"]


def test_a_home_is_not_needed(monkeypatch):
    monkeypatch.setattr("os.path.expanduser", lambda _: "~")
    assert find_pictures("~/no such.png") == []
