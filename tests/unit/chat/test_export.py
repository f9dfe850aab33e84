"""A conversation as Markdown."""

from runner.chat.export import TIMES, picture_label, to_markdown
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Picture

PICTURE = Picture("cat.png", "image/png", b"", 1024, 768, 504)


def test_the_export_is_markdown():
    turns = [
        Turn("hi", (PICTURE,), TurnState.STOPPED, reasoning="hm", answer="**part**"),
        Turn("oh", phase=TurnState.FAILED, failed="It broke."),
        Turn("well", phase=TurnState.CUT, answer="Pa"),
    ]
    text = to_markdown(turns, "Step")
    for piece in (
        "# Step",
        "[Image #1] cat.png",
        "**part**",
        "hm",
        "(stopped)",
        "(cut off)",
        "It broke.",
    ):
        assert piece in text


def test_a_label_shows_what_a_picture_costs():
    size = f"1024{TIMES}768"
    priced = f"[Image #2] cat.png {size} · 504 tokens"
    assert picture_label(2, PICTURE, prices=True) == priced
    assert picture_label(2, PICTURE, prices=True, rate=250) == f"{priced} · ~2 s"
    assert picture_label(2, PICTURE, prices=True, rate=9e9) == f"{priced} · ~1 s"
    assert picture_label(2, PICTURE, prices=False, rate=250) == f"[Image #2] cat.png {size}"
    assert "tokens" not in picture_label(1, PICTURE, prices=False)
