"""Zoom and mark: what is cut out and drawn, at which price, and what a model may get wrong."""

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from runner.chat.images.load import picture_from_bytes
from runner.chat.images.tokens import LONGEST_PX, OVERVIEW_PX, OVERVIEW_TOKENS, image_tokens
from runner.chat.tools.pictures import TOOLS, PictureTools, run_call
from runner.chat.tools.region import (
    BadArguments,
    box_of,
    image_number,
    next_name,
    part_of,
    shown_size,
)
from runner.chat.tools.toolbox import Call, Result, Tool
from runner.chat.tools.toolboxes import MOST_TOOLS, Toolboxes
from runner.chat.wire import Picture


def painted(width: int, height: int, name: str = "photo.png", kind: str = "PNG") -> Picture:
    """Return a white picture whose right lower quarter is red."""
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).rectangle((width // 2, height // 2, width, height), fill="red")
    out = io.BytesIO()
    image.save(out, kind)
    return picture_from_bytes(out.getvalue(), name)


PHOTO = painted(1200, 800)


def ran(name: str, *pictures: Picture, **given: Any) -> Result:
    return run_call(Call("c1", name, json.dumps(given)), pictures or (PHOTO,))


def pixels(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.data)).convert("RGB")


def test_a_part_is_cut_out_and_enlarged_to_the_cheapest_size():
    result = ran("zoom", image=1, x=500, y=500, w=300, h=300)
    (part,) = result.pictures
    assert (part.name, part.mime) == ("photo.png (zoom 1)", "image/png")
    assert (part.width, part.height) == pixels(part).size == (728, 486)
    assert part.tokens == OVERVIEW_TOKENS
    colours = pixels(part).getcolors()
    assert colours is not None
    assert [colour for _, colour in colours] == [(255, 0, 0)], "all of it is of the red quarter"
    assert result.text == "Image 2: image 1, x 500 to 800, y 500 to 800, enlarged 2.0 times."


def test_a_photograph_stays_one():
    (part,) = ran("zoom", painted(900, 900, "a.jpg", "JPEG"), x=0, y=0, w=10, h=10).pictures
    assert part.mime == "image/jpeg"
    assert Image.open(io.BytesIO(part.data)).format == "JPEG"


def test_a_line_of_text_brings_what_is_around_it_where_that_is_cheaper():
    result = ran("zoom", image=1, x=0, y=500, w=400, h=50)
    (part,) = result.pictures
    assert part.tokens == OVERVIEW_TOKENS
    assert "x 0 to 400, y 325 to 725" in result.text


def test_a_large_part_keeps_its_pixels():
    (part,) = ran("zoom", x=0, y=0, w=1000, h=500).pictures
    assert (part.width, part.height) == (1200, 400)


def test_what_was_made_can_be_looked_at_again():
    first = ran("zoom", x=0, y=0, w=500, h=500).pictures[0]
    result = ran("zoom", PHOTO, first, image=2, x=0, y=0, w=500, h=500)
    assert result.pictures[0].name == "photo.png (zoom 2)"
    assert result.text.startswith("Image 3: image 2, ")


def test_a_box_and_a_point_are_drawn():
    for given_ in ({"w": 200, "h": 200}, {}, {"w": 0, "h": 0}):
        result = ran("mark", image=1, x=200, y=200, label="cat", **given_)
        (marked,) = result.pictures
        assert marked.name == "photo.png (mark 1)"
        assert (marked.width, marked.height) == pixels(marked).size == (728, 486)
        assert marked.tokens == OVERVIEW_TOKENS
        near = pixels(marked).crop((0, 0, 360, 240)).getcolors(100_000)
        assert (255, 0, 0) in [colour for _, colour in near or ()]
        what = "box" if given_.get("w") else "point"
        assert f"with a {what} labelled 'cat' at x 200" in result.text


@pytest.mark.parametrize(
    ("given_", "edges"),
    [
        ({"x": 100, "y": 200, "w": 300, "h": 400}, (100, 200, 400, 600)),
        ({"x": "100", "y": "200 ", "w": 300.0, "h": "400px"}, (100, 200, 400, 600)),
        ({"x": "10%", "y": "20 %", "w": "30%", "h": "40%"}, (100, 200, 400, 600)),
        ({"x": 0.1, "y": 0.2, "w": 0.3, "h": 0.4}, (100, 200, 400, 600)),
        ({"x": 400, "y": 600, "w": -300, "h": -400}, (100, 200, 400, 600)),
        ({"x": 0, "y": 0, "w": 1, "h": 1}, (0, 0, 1, 1)),
    ],
)
def test_numbers_are_taken_however_they_are_written(given_, edges):
    part = part_of(given_)
    assert (part.left, part.top, part.right, part.bottom) == pytest.approx(edges)
    assert not part.beyond


def test_what_lies_outside_is_cut_and_told():
    result = ran("zoom", x=-50, y=900, w=2000, h=4000)
    assert "x 0 to 1000, y 900 to 1000" in result.text
    assert "outside" in result.text
    assert "thousandths" in result.text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"x": 1, "y": 2}, "Missing: w, h."),
        ({"image": 3, "x": 1, "y": 2, "w": 3, "h": 4}, "no image 3: the images are 1 to 2"),
        ({"image": "the cat", "x": 1, "y": 2, "w": 3, "h": 4}, "no image the cat"),
        ({"x": "left", "y": 2, "w": 3, "h": 4}, "x must be a number from 0 to 1000"),
        ({"x": True, "y": 2, "w": 3, "h": 4}, "x must be a number"),
        ({"x": [1, 2], "y": 2, "w": 3, "h": 4}, "x must be a number"),
        ({"x": 1e300, "y": 2, "w": 3, "h": 4}, "x must be a number"),
        ([1, 2], "not a JSON object"),
    ],
)
def test_what_is_wrong_is_told(arguments, says):
    result = run_call(Call("c", "zoom", json.dumps(arguments)), [PHOTO, PHOTO])
    assert result.failed
    assert says in result.text
    assert not result.pictures


def test_without_a_picture_there_is_nothing_to_see():
    result = run_call(Call("c", "zoom", '{"x": 1, "y": 1, "w": 1, "h": 1}'), ())
    assert (result.failed, result.text[:20]) == (True, "There is no image in")


@pytest.mark.parametrize("said", ["2", "#2", "image 2", "Image #2", 2, 2.0, "2.0", None])
def test_an_image_is_named_by_its_number(said):
    assert image_number(said, 2) == 2


@pytest.mark.parametrize("said", [0, -1, 3, 1.5, True, "", "two", [2], {"n": 1}, "9" * 50])
def test_any_other_name_is_refused(said):
    with pytest.raises(BadArguments):
        image_number(said, 2)


def test_the_only_image_is_meant_whatever_is_named():
    assert [image_number(said, 1) for said in (0, 7, "the cat", None)] == [1, 1, 1, 1]


def test_names_count_up_for_each_tool():
    assert next_name("a.png", "zoom", ["a.png", "b.png (zoom 1)"]) == "a.png (zoom 1)"
    assert next_name("a.png (zoom 1)", "mark", ["a.png (zoom 1)"]) == "a.png (mark 1)"
    assert next_name("a.png (mark 1)", "zoom", ["a.png (zoom 1)"]) == "a.png (zoom 2)"


SIDES = st.integers(1, LONGEST_PX)
NUMBERS = st.one_of(
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 1000),
    st.integers(-20, 1100).map(str),
)


@given(SIDES, SIDES, st.fixed_dictionaries(dict.fromkeys("xywh", NUMBERS)))
def test_any_part_lies_within_the_picture_and_costs_no_more_than_it_must(wide, high, named):
    try:
        part = part_of(named)
    except BadArguments:
        return
    left, top, right, bottom = box_of(part, wide, high)
    assert 0 <= left < right <= wide
    assert 0 <= top < bottom <= high
    size = shown_size(right - left, bottom - top)
    assert max(size) <= max(OVERVIEW_PX, wide, high)
    within = max(right - left, bottom - top) <= OVERVIEW_PX
    roomy = min(wide, high) * 1.5 >= max(right - left, bottom - top)
    assert not within or not roomy or image_tokens(*size) == OVERVIEW_TOKENS


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["image", "x", "y", "w", "h", "label"]), inner)
    ),
    max_leaves=12,
)
SMALL = painted(60, 40)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["zoom", "mark", "x"]), HOSTILE.map(json.dumps) | st.text(max_size=40))
def test_no_arguments_make_a_tool_fail_otherwise_than_in_words(name, arguments):
    result = run_call(Call("c", name, arguments), [SMALL])
    assert result.text
    assert result.failed is not bool(result.pictures)


def test_they_are_offered_where_they_are_wanted():
    assert PictureTools(lambda: False).tools == ()
    assert [tool.name for tool in PictureTools(lambda: True).tools] == ["zoom", "mark"]
    for tool in TOOLS:
        assert set(tool.parameters["required"]) <= set(tool.parameters["properties"])


class Named:
    """A toolbox that says which tool of its own was called."""

    def __init__(self, source: str, *names: str) -> None:
        self.tools = [Tool(name, "", {}, source) for name in names]
        self.source = source

    async def run(self, call: Call, pictures: object) -> Result:
        return Result(f"{self.source}: {call.name}")


async def test_toolboxes_keep_names_unique_and_find_the_box():
    boxes = Toolboxes(Named("", "zoom"), Named("files", "read", "zoom"))
    boxes.add(Named("web", "zoom", "read it!", "zoom"))
    names = [tool.name for tool in boxes.tools]
    assert names == ["zoom", "read", "files_zoom", "web_zoom", "read_it_", "web_zoom_2"]
    said = [(await boxes.run(Call("", name, ""), ())).text for name in names]
    assert said == [
        *(": zoom", "files: read", "files: zoom", "web: zoom", "web: read it!", "web: zoom")
    ]
    assert (await boxes.run(Call("", "fly", ""), ())).failed
    boxes.refused = True
    assert boxes.tools == ()


def test_no_more_tools_are_offered_than_servers_take():
    boxes = Toolboxes(Named("many", *(f"tool{n}" for n in range(300))), Named("late", "last"))
    assert len(boxes.tools) == MOST_TOOLS
