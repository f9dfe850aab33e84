"""The canary's model: made once, in the user's cache, and mended."""

from pathlib import Path

from runner.canary import model


def test_the_files_are_made_once_and_mended(home: Path) -> None:
    made = model.files()
    paths = (made.weights, made.projector, made.mtp)
    assert all(path is not None and path.stat().st_size > 1 << 20 for path in paths)
    assert made.weights.is_relative_to(home / "cache")
    before = made.weights.stat().st_mtime_ns
    assert model.files() == made
    assert made.weights.stat().st_mtime_ns == before
    made.weights.write_bytes(b"half")
    model.files()
    assert made.weights.stat().st_size > 1 << 20
