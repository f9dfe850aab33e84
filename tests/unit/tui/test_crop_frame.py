"""The frame of a crop stays on the picture, whatever is done to it."""

from hypothesis import given
from hypothesis import strategies as st

from runner.tui.crop_frame import CropFrame

GRIDS = st.tuples(st.integers(1, 200), st.integers(1, 60))
STEPS = st.tuples(
    st.sampled_from(["moved", "resized", "grown", "fitted"]),
    st.integers(-30, 30),
    st.integers(-30, 30),
)


@given(GRIDS, st.lists(STEPS, max_size=30), st.integers(1, 3024), st.integers(1, 3024))
def test_the_frame_stays_on_the_picture(grid, steps, width, height):
    frame = CropFrame.middle(*grid)
    for name, right, down in steps:
        if name == "grown":
            frame = frame.grown(right)
        elif name == "fitted":
            frame = frame.fitted(abs(right) + 1, abs(down) + 1)
        else:
            frame = getattr(frame, name)(right, down)
        assert 0 <= frame.left < frame.left + frame.wide <= frame.columns
        assert 0 <= frame.top < frame.top + frame.high <= frame.rows
        box = frame.box(width, height)
        assert 0 <= box[0] < box[2] <= width
        assert 0 <= box[1] < box[3] <= height


def test_what_the_keys_do():
    frame = CropFrame.middle(40, 20)
    assert (frame.left, frame.top, frame.wide, frame.high) == (10, 5, 20, 10)
    assert frame.box(400, 200) == (100, 50, 300, 150)
    assert frame.moved(1, -1).box(400, 200) == (110, 40, 310, 140)
    assert frame.moved(-99, 99).box(400, 200) == (0, 100, 200, 200)
    assert frame.resized(1, 1).box(400, 200) == (100, 50, 310, 160)
    assert frame.grown(1).box(400, 200) == (90, 40, 310, 160)
    assert frame.grown(1).grown(-1) == frame
    assert frame.grown(99).box(401, 199) == (0, 0, 401, 199)
    assert frame.fitted(80, 40).box(400, 200) == frame.box(400, 200)


def test_the_border():
    frame = CropFrame(9, 9, 2, 2, 4, 3)
    rows = ["".join(frame.border(x, y) or "." for x in range(7)) for y in range(1, 6)]
    assert rows == [".......", "..┌──┐.", "..│..│.", "..└──┘.", "......."]
    assert CropFrame(9, 9, 2, 2, 1, 1).border(2, 2) == "▪"
