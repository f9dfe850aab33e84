"""The line that is shown while an engine loads."""

from runner.base.loaded import Loaded
from runner.cli.render.loading import loading_words


def test_the_line_says_how_far_it_is_or_else_how_long_it_takes() -> None:
    assert loading_words("Step-3.7-Flash", 3.0, None) == "loading Step-3.7-Flash ... 3 s"
    loaded = Loaded(37 << 30, 100 << 30, rate=2 << 30)
    assert loading_words("Step-3.7-Flash", 3.0, loaded) == (
        "loading Step-3.7-Flash ... 37 % · 2.00 GiB/s · 32 s left"
    )
