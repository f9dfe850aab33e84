"""Reads the keys of a header that are numbers, within bounds; errors name the key."""

from collections.abc import Sequence

from runner.base.errors import BadFile
from runner.base.text import shown
from runner.gguf.parse import Header


def number(header: Header, key: str, least: int, most: int, default: int | None = None) -> int:
    """Read a whole number, `key` without the architecture; BadFile where it is out of bounds."""
    value = header.metadata.get(f"{header.arch}.{key}", default)
    if type(value) is not int or not least <= value <= most:
        raise bad(header, key, "it is missing" if value is None else f"it is {_brief(value)}")
    return value


def per_layer(
    header: Header,
    key: str,
    count: int,
    default: Sequence[int] | None = None,
    *,
    bounds: tuple[int, int] = (0, (1 << 24) - 1),
) -> Sequence[int]:
    """Read a key that is either one number for all layers or one for each.

    `bounds`: what the largest must reach, and no number may exceed.
    """
    value = header.metadata.get(f"{header.arch}.{key}")
    if value is None and default is not None:
        value = tuple(default)
    values = [value] * count if type(value) is int else value
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise bad(header, key, f"it is not one number for each of {count} layers")
    numbers = [entry for entry in values if isinstance(entry, int) and 0 <= entry <= bounds[1]]
    # Some layers may have none of what others have, such as experts.
    if len(numbers) < count or max(numbers) < bounds[0]:
        raise bad(header, key, f"it is {_brief(value)}")
    return numbers


def bad(header: Header, key: str, why: str) -> BadFile:
    """Return the error of a key that is not as it must be."""
    name = shown(header.path.name) if header.path else "The file"
    return BadFile(
        f"{name} is not a model that steprun can plan for.",
        why=f"Key {shown(f'{header.arch}.{key}')}: {why}.",
        next="Download the file again, or another quant of the model.",
    )


def _brief(value: object) -> str:
    return shown(str(value))
