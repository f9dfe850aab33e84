"""The prompt tokens that an image costs with Step, known before it is sent. Pure.

Step sees an overview of 728 px and, where the picture is larger or long, crops of 504 px. The
constants are the model's image processor (`step37_config.json`: image_token_len 169,
patch_token_len 81) and were checked against the token counts of llama.cpp b11549.
"""

import math

OVERVIEW_PX = 728
CROP_PX = 504
LONGEST_PX = 3024
OVERVIEW_TOKENS = 169 + 2  # with its start and end marker
CROP_TOKENS = 81 + 2
SMALL_ASPECT = 1.5  # a small picture longer than this is cut into squares
WIDE_ASPECT = 4.0  # a strip: the window is no larger than its short side
THIN_PX = 32  # a strip thinner than this is padded to a square first
ROUND_UP = 0.2  # a rest larger than this part of a window gets a crop of its own


def fit(width: int, height: int) -> tuple[int, int]:
    """Return the size that the model sees at most, in pixels: longest edge 3024."""
    longest = max(width, height)
    if longest <= LONGEST_PX:
        return width, height
    scale = LONGEST_PX / longest
    return max(1, int(width * scale)), max(1, int(height * scale))


def image_tokens(width: int, height: int) -> int:
    """Return the prompt tokens of a picture of `width` x `height` pixels."""
    aspect = max(width, height) / min(width, height)
    if min(width, height) < THIN_PX and aspect > WIDE_ASPECT:
        width = height = max(width, height)
    width, height = fit(width, height)
    window = _window(max(width, height), min(width, height))
    if not window:
        return OVERVIEW_TOKENS
    columns, rows = _crops(width, window), _crops(height, window)
    return OVERVIEW_TOKENS + columns * rows * CROP_TOKENS + rows - 1


def cheaper_size(width: int, height: int) -> tuple[int, int] | None:
    """Return the largest size of the same shape that costs less, in pixels; None where none does.

    Prices fall in steps, and not always: a small strip may cost more than a larger one. So each
    length of the longer side is tried.
    """
    price, longest = image_tokens(width, height), max(width, height)
    for longer in range(longest - 1, 0, -1):
        size = max(1, round(width * longer / longest)), max(1, round(height * longer / longest))
        if image_tokens(*size) < price:
            return size
    return None


def _window(longer: int, shorter: int) -> int:
    """Return the side of the crops in pixels, 0 where there are none."""
    aspect = longer / shorter
    if longer <= OVERVIEW_PX:
        return shorter if aspect > SMALL_ASPECT else 0
    return min(shorter, CROP_PX) if aspect > WIDE_ASPECT else CROP_PX


def _crops(length: int, window: int) -> int:
    ratio = length / window
    if ratio < 1:
        return 1
    whole = math.floor(ratio)
    return whole + 1 if ratio - whole > ROUND_UP else whole
