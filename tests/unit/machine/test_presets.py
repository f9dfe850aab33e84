"""Machines by name: each is a whole, honest capture, found by its name and read alone.

Where a probe asks in other words than before, `python -m tests.unit.machine.test_presets` records
the presets again in these.
"""

import json
import sys
import time
from pathlib import Path

import pytest

from runner.base.errors import Exit, UsageError
from runner.machine.captures import presets, replay
from runner.machine.captures.capture import SCHEMA, Capture, Ran, Replay, load_capture, save
from runner.machine.captures.scrub import Scrubber
from runner.machine.probe import detect

FOLDER = Path(presets.__file__).parent / "known"
# What a buyer of a 128 GB machine looks for, and what people have already.
EXPECTED = """
    m4-max-128 m4-max-128-wired m5-max-128 m3-ultra-512 m3-ultra-256 m2-ultra-192 m3-ultra-96
    m2-max-96 m4-max-64 m1-8 dgx-spark dgx-spark-desktop dgx-spark-loaded strix-halo-linux
    strix-halo-linux-112 strix-halo-linux-stock strix-halo-linux-carve-out strix-halo-windows
    strix-halo-windows-96 thor orin-64 gb300 n1x 5090-128 4x5090 8x5090 4x48 pro6000-128
    mixed-5090-pro6000 wsl2-5090 r9700-4x cpu-24 cpu-128 cpu-256
"""


def test_the_names_are_sorted_and_all_there() -> None:
    assert presets.names() == tuple(sorted(EXPECTED.split()))
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in presets.names()}


@pytest.mark.parametrize("name", presets.names())
def test_each_says_what_it_is_and_nothing_of_anybody(name: str) -> None:
    document = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    assert list(document) == ["schema", "about", "platform", "files", "commands"]
    assert document["schema"] == SCHEMA
    about = presets.about(name)
    assert 40 < len(about) < 300
    assert about.endswith(".")
    # Where the values come from is said of each, and what was made up too.
    assert any(word in about for word in ("published", "measured", "real", "filled in", "from"))
    seen = presets.load_preset(name)
    assert "about" not in seen.to_json()
    scrubber = Scrubber()
    for path, text in seen.files.items():
        assert text is None or scrubber.file(path, text) == text
    for argv, ran in seen.commands.items():
        assert ran is not None
        assert "GPU-" in ran.stdout or scrubber.output(argv, ran.stdout) == ran.stdout


@pytest.mark.parametrize("name", presets.names())
def test_each_is_a_whole_machine(name: str) -> None:
    machine = detect(Replay(presets.load_preset(name)))
    assert machine.unknown == ()
    assert machine.memory_bytes > machine.reserve_bytes
    assert 0 < (machine.available_bytes or 0) <= machine.memory_bytes
    assert machine.cores > 1
    assert not machine.name.startswith(("Computer", "Apple Silicon"))


def test_a_capture_may_say_what_it_is_about(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    document = Capture("linux-x86_64").to_json() | {"about": {"not": ["even", "text"]}}
    path.write_text(json.dumps(document))
    assert load_capture(path) == Capture("linux-x86_64")


def test_names_in_any_case() -> None:
    assert presets.load_preset("DGX-Spark") == presets.load_preset("dgx-spark")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("dgx-sparc", "dgx-spark"),
        ("strix-halo", "strix-halo-linux"),
        ("M4-MAX", "m4-max-128"),
        ("x" * 9999, ""),
        ("", ""),
        ("\0", ""),
        ("thor\n", "thor"),
    ],
)
def test_an_unknown_name_gets_near_ones(name: str, near: str) -> None:
    for ask in (presets.load_preset, presets.about, presets.open_capture):
        with pytest.raises(UsageError) as caught:
            ask(name)
        assert caught.value.exit_code is Exit.USAGE
        assert len(caught.value.what) < 400
        assert (near or "steprun machine --known") in caught.value.next


@pytest.mark.parametrize("name", ["../known/thor", "known/thor", "thor.json", "/thor", "C:\\thor"])
def test_a_path_is_never_taken_for_a_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        presets.open_capture(name)
    with pytest.raises(UsageError):
        presets.load_preset(name)


def test_a_file_is_a_file_and_a_folder_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = Capture("linux-x86_64", {"/proc/meminfo": "mine"})
    for name in ("mine", "mine.JSON", "sub/mine"):
        save(mine, tmp_path / name)
        assert presets.open_capture(name) == mine
    (tmp_path / "thor").mkdir()
    assert presets.open_capture("thor") == presets.load_preset("thor")
    save(mine, tmp_path / "orin-64")  # nobody names a file like this by accident
    assert presets.open_capture("orin-64") == mine


def test_only_the_one_file_is_read() -> None:
    seen: list[str] = []
    watching = True

    def watch(event: str, args: tuple[object, ...]) -> None:
        if watching and event == "open" and str(args[0]).endswith(".json"):
            seen.append(Path(str(args[0])).name)

    sys.addaudithook(watch)
    start = time.perf_counter()
    presets.open_capture("dgx-spark")
    took = time.perf_counter() - start
    watching = False
    assert seen == ["dgx-spark.json"]
    assert took < 0.05


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_answers_the_probes_own_questions(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Translating other words (`replay`) is for captures typed by hand or from other versions."""
    plain = detect(Replay(presets.load_preset(name)))
    monkeypatch.setattr(replay, "equivalent", lambda *_: None)
    assert detect(Replay(presets.load_preset(name))) == plain


class Recorder(Replay):
    """Replays a capture, and keeps what was asked and answered."""

    def __init__(self, capture: Capture) -> None:
        super().__init__(capture)
        self.answers: dict[str, object] = {}

    def run(self, *argv: str) -> Ran | None:
        answer = super().run(*argv)
        if answer is not None:
            self.answers[" ".join(argv)] = {"exit": answer.exit, "stdout": answer.stdout}
        return answer


if __name__ == "__main__":
    for path in FOLDER.glob("*.json"):
        recorder = Recorder(load_capture(path))
        detect(recorder)
        document = json.loads(path.read_text(encoding="utf-8"))
        document["commands"] = recorder.answers
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
