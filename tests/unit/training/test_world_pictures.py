"""The made-up world's pictures: the same for the same seed, and labelled as they are painted."""

import hashlib
import io
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from training.world import painting, pictures, seeds
from training.world.pictures import (
    CELL,
    CLASSES,
    COLOUR_NAMES,
    COLOURS,
    DIGITS,
    GRID,
    GROUPS,
    KINDS,
    LETTERS,
    SHAPES,
    SIDE,
    SMALL,
    Thing,
)

SEEDS = range(16)
SCENES = {kind: [pictures.scene(seed, kind) for seed in SEEDS] for kind in KINDS}


def of_colour(pixels: painting.Pixels, thing: Thing) -> npt.NDArray[np.bool_]:
    same: npt.NDArray[np.bool_] = (pixels == np.array(thing.rgb, np.uint8)).all(2)
    return same


def inside(thing: Thing, margin: int = 0) -> tuple[slice, slice]:
    left, top, right, bottom = thing.box
    return (
        slice(max(int(top) - margin, 0), int(bottom) + 1 + margin),
        slice(max(int(left) - margin, 0), int(right) + 1 + margin),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_is_a_picture(kind: str) -> None:
    first, again = pictures.scene(5, kind), pictures.scene(5, kind)
    assert first == again
    assert painting.paint(first).tobytes() == painting.paint(again).tobytes()
    different = {painting.paint(pictures.scene(seed, kind)).tobytes() for seed in range(20)}
    assert len(different) == 20


def test_seeds_are_the_same_on_every_machine() -> None:
    """Scenes of numbers use no function of a maths library: their text can be compared."""
    numbers = [pictures.scene(seed, "number") for seed in range(100)]
    digest = hashlib.sha256(repr([scene.text for scene in numbers]).encode()).hexdigest()
    assert digest.startswith("15f63cea9b532a80")


def test_a_seed_of_neither_range_is_refused() -> None:
    assert not {*seeds.TRAINING[:10]} & {*seeds.EVALUATION[:10]}
    assert seeds.TRAINING.stop <= seeds.EVALUATION.start
    for seed in (-1, seeds.EVALUATION.stop):
        with pytest.raises(ValueError, match="neither range"):
            pictures.scene(seed)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'clouds'"):
        pictures.scene(1, "clouds")


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_hold_their_things_and_nothing_else_is_painted(kind: str) -> None:
    for scene in SCENES[kind]:
        pixels = painting.paint(scene)
        assert pixels.shape == (SIDE, SIDE, 3)
        ground = (pixels == np.array(scene.ground, np.uint8)).all(2)
        for thing in scene.things:
            left, top, right, bottom = thing.box
            assert 0 <= left < right <= SIDE
            assert 0 <= top < bottom <= SIDE
            painted = of_colour(pixels, thing)[inside(thing)]
            assert painted.mean() > 0.1, thing
            if thing.kind in SHAPES:  # it reaches all four sides of its box
                rows, columns = np.flatnonzero(painted.any(1)), np.flatnonzero(painted.any(0))
                assert rows[-1] - rows[0] == pytest.approx(bottom - top, abs=4)
                assert columns[-1] - columns[0] == pytest.approx(right - left, abs=4)
            ground[inside(thing, 1)] = True
        assert ground.all()


@pytest.mark.parametrize("kind", KINDS)
def test_cells_are_labelled_as_they_are_painted(kind: str) -> None:
    for scene in SCENES[kind]:
        cells, pixels = painting.label(scene), painting.paint(scene)
        for grid in (
            cells.centre_class,
            cells.centre_colour,
            cells.cover_class,
            cells.cover_colour,
        ):
            assert grid.shape == (GRID, GRID)
        assert (cells.centre_class > 0).sum() == len(scene.things)
        assert ((cells.centre_class > 0) == (cells.centre_colour > 0)).all()
        assert ((cells.cover_class > 0) == (cells.cover_colour > 0)).all()
        for thing in scene.things:
            row, column = thing.cell
            x, y = thing.centre
            assert (row, column) == (int(y // CELL), int(x // CELL))
            assert CLASSES[cells.centre_class[row, column]] == thing.kind
            assert COLOUR_NAMES[cells.centre_colour[row, column]] == thing.colour
        for row, column in np.ndindex(GRID, GRID):
            tile = pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
            shares = {thing: of_colour(tile, thing).mean() for thing in scene.things}
            if not scene.text and shares and max(shares.values()) > 0.2:
                most = max(shares, key=lambda thing: shares[thing])
                assert CLASSES[cells.cover_class[row, column]] == most.kind
                assert COLOUR_NAMES[cells.cover_colour[row, column]] == most.colour
            elif max(shares.values(), default=0) == 0 and not scene.text and not scene.small:
                assert cells.cover_class[row, column] == 0


def test_things_do_not_overlap_and_are_in_reading_order() -> None:
    for scene in (scene for kind in KINDS for scene in SCENES[kind]):
        for a, b in combinations(scene.things, 2):
            apart_x = a.box[2] <= b.box[0] or b.box[2] <= a.box[0]
            apart_y = a.box[3] <= b.box[1] or b.box[3] <= a.box[1]
            assert apart_x or apart_y
            # The first is higher, or to the left in the same row.
            assert a.box[3] <= b.centre[1] or a.centre[0] < b.centre[0]


def test_everything_occurs() -> None:
    many = [pictures.scene(seed, kind) for kind in KINDS for seed in range(300)]
    assert {thing.kind for scene in many for thing in scene.things} == {*CLASSES[1:]}
    assert {thing.colour for scene in many for thing in scene.things} == {*COLOURS}
    counts = [len(scene.things) for scene in many if scene.kind == "shapes"]
    assert {*counts} == {*range(1, 10)}
    assert {len(scene.text) for scene in many if scene.kind == "number"} == {1, 2, 3}
    named = [CLASSES[place] for group in GROUPS.values() for place in group]
    assert named == [*SHAPES, *DIGITS, *LETTERS, SMALL] == [*CLASSES[1:]]


def test_a_mixture_has_every_kind() -> None:
    mixture = [pictures.mixed(seed) for seed in range(200)]
    assert {scene.kind for scene in mixture} == {*KINDS, "enlarged"}
    assert mixture[:9] == [pictures.mixed(seed) for seed in range(9)]


def test_digits_shrink_with_difficulty() -> None:
    def heights(difficulty: float) -> list[float]:
        scenes = (pictures.scene(seed, "number", difficulty) for seed in range(100))
        return [scene.things[0].size for scene in scenes]

    easy, half, hard = (np.mean(heights(difficulty)) for difficulty in (0.0, 0.5, 1.0))
    assert easy > half > hard
    assert min(heights(1.0)) >= 110
    assert max(heights(1.0)) <= 220


def test_a_pair_differs_in_one_thing() -> None:
    for seed in SEEDS:
        first, second = pictures.pair(seed)
        changed = [
            (a, b)
            for a, b in zip(first.things, second.things, strict=True)
            if (a.kind, a.colour) != (b.kind, b.colour)
        ]
        assert len(changed) == 1
        ((old, new),) = changed
        assert (old.kind == new.kind) != (old.colour == new.colour)
        assert old.cell == new.cell
        assert painting.label(second).centre_class[new.cell] == CLASSES.index(new.kind)


def test_what_is_small_is_read_enlarged() -> None:
    for seed in SEEDS:
        scene = pictures.scene(seed, SMALL)
        assert scene.small is not None
        near = pictures.enlarge(scene, scene.small.place)
        assert near.text == scene.small.text
        pixels = painting.paint(near)
        assert pixels.shape == (SIDE, SIDE, 3)
        for thing in near.things:
            assert thing.size >= 100
            near_colour = (
                np.abs(pixels[inside(thing)].astype(int) - np.array(thing.rgb)).max(2) < 24
            )
            assert near_colour.mean() > 0.1
        cells = painting.label(near)
        read = [CLASSES[cells.centre_class[thing.cell]] for thing in near.things]
        assert "".join(read) == scene.small.text


def test_png_holds_the_same_pixels() -> None:
    scene = pictures.scene(3)
    with Image.open(io.BytesIO(painting.png(scene))) as image:
        assert (np.asarray(image) == painting.paint(scene)).all()
