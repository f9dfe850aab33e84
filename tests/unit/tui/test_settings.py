"""The chat's settings: what is remembered, and files that are not ours."""

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.base import paths
from runner.tui.settings import FILE_BYTES, SCHEMA, ChatSettings, SettingsFile, parse_settings


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    paths.config_dir().mkdir()
    return paths.config_dir() / "chat.json"


def remember(settings, **choices):
    if settings.choose(**choices):
        settings.write()


def test_a_choice_is_there_the_next_time(file):
    remember(SettingsFile(), theme="nord", effort="low")
    assert SettingsFile().now == ChatSettings("nord", "", "low")
    assert file.stat().st_mode & 0o777 == 0o600
    remember(SettingsFile(), effort="")
    assert SettingsFile().now == ChatSettings("nord")


def test_nothing_is_written_before_there_is_a_choice(file):
    settings = SettingsFile()
    assert not settings.choose(effort="")
    assert not file.exists()


def test_two_windows_keep_each_others_choices(file):
    one, other = SettingsFile(), SettingsFile()
    remember(one, theme="nord")
    remember(other, thinking="open")
    assert SettingsFile().now == ChatSettings("nord", "open")


def test_what_a_later_version_added_stays(file):
    file.write_text(json.dumps({"schema": SCHEMA, "margin": 3, "effort": "low"}))
    remember(SettingsFile(), theme="nord")
    assert json.loads(file.read_text())["margin"] == 3
    assert SettingsFile().now == ChatSettings("nord", "", "low")


def test_the_last_of_many_quick_choices_counts(file):
    settings = SettingsFile()
    threads = []
    for theme in ("a", "b", "c", "d"):
        settings.choose(theme=theme)
        threads.append(threading.Thread(target=settings.write))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert SettingsFile().now.theme == "d"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "longer than"),
        (b"[" * 60_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "expected"),
        (b"", "empty"),
        (b'{"schema": "steprun.chat/2", "theme": {}}', "'steprun.chat/2'"),
        (b" " * (FILE_BYTES + 1), "longer than"),
    ],
)
def test_a_file_that_is_not_ours_is_reported_and_left_alone(file, data, why):
    file.write_bytes(data)
    settings = SettingsFile()
    assert settings.now == ChatSettings()
    assert why in settings.warning
    assert str(file) in settings.warning
    assert not settings.choose(theme="nord")
    settings.write()
    assert file.read_bytes() == data
    assert settings.now.theme == "nord"  # for this run


def test_a_folder_in_its_place_is_reported(file):
    file.mkdir()
    assert "cannot be used" in SettingsFile().warning


def test_a_file_that_is_spoiled_while_the_chat_runs_is_left_alone(file):
    settings = SettingsFile()
    file.write_text("no JSON")
    remember(settings, theme="nord")
    assert file.read_text() == "no JSON"


@pytest.mark.parametrize("value", [3, None, [], "huge", "x" * 1000])
def test_an_impossible_value_was_not_chosen(value):
    data = json.dumps({"schema": SCHEMA, "effort": value, "theme": "nord"}).encode()
    assert parse_settings(data) == (ChatSettings("nord"), "")


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_any_bytes_are_borne(data):
    settings, why = parse_settings(data)
    assert why or isinstance(settings, ChatSettings)
