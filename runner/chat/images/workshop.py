"""Loads and changes the pictures of a chat, in a process of its own.

`python -m runner.chat.images.workshop` takes jobs from its standard input and writes results to its
standard output, one after the other, until its input ends: a decoder that crashes, hangs or takes
too much memory takes this process with it, and not the chat.

A job is a frame (`converting.frame`): a letter of `JOBS`, then a line of JSON and the bytes of the
file or picture. A result is one, too: `=` and a line of JSON about the picture with its bytes (none
where they are those of the file), or `-` and why there is none.
"""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any, Final

from runner.base.errors import BadFile, SteprunError
from runner.chat.images.converting import HEAD, bound, frame
from runner.chat.images.editing import cropped, pixels, scaled, small_png
from runner.chat.images.load import picture_from_bytes
from runner.chat.wire import Picture

LOAD: Final = b"l"
SCALE: Final = b"s"
CROP: Final = b"c"
THUMBNAIL: Final = b"t"
SMALL_PNG: Final = b"p"

Job = Mapping[str, Any]


def described(picture: Picture) -> dict[str, Any]:
    """Return all of a picture but its bytes, as it goes from one process to the other."""
    names = ("name", "mime", "width", "height", "tokens")
    return {name: getattr(picture, name) for name in names}


def packed(about: Mapping[str, Any], data: bytes) -> bytes:
    """Return a line of JSON and the bytes behind it."""
    return json.dumps(about).encode() + b"\n" + data


def unpacked(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return what `packed` has packed. Raises ValueError where it has not."""
    about, line, rest = data.partition(b"\n")
    record = json.loads(about)
    if not line or not isinstance(record, dict):
        raise ValueError("not a job of the workshop")
    return record, rest


def _loaded(job: Job, data: bytes) -> bytes:
    picture = picture_from_bytes(data, job["name"])
    return packed(described(picture), b"" if picture.data == data else picture.data)


def _scaled(job: Job, data: bytes) -> bytes:
    picture = scaled(Picture(data=data, **job["picture"]), job["width"], job["height"])
    return packed(described(picture), picture.data)


def _cropped(job: Job, data: bytes) -> bytes:
    picture = cropped(Picture(data=data, **job["picture"]), tuple(job["box"]))
    return packed(described(picture), picture.data)


def _thumbnail(job: Job, data: bytes) -> bytes:
    picture = Picture(data=data, **job["picture"])
    return packed({}, pixels(picture, job["width"], job["height"]))


def _small_png(job: Job, data: bytes) -> bytes:
    picture = Picture(data=data, **job["picture"])
    return packed({}, small_png(picture, job["width"], job["height"]))


JOBS: Final[Mapping[bytes, Callable[[Job, bytes], bytes]]] = {
    LOAD: _loaded,
    SCALE: _scaled,
    CROP: _cropped,
    THUMBNAIL: _thumbnail,
    SMALL_PNG: _small_png,
}


def work(letter: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Do a job; return the letter of the result and its data. What fails is a result, too."""
    try:
        about, source = unpacked(data)
        return b"=", JOBS[letter](about, source)
    except SteprunError as error:
        failed = error
    except MemoryError:
        failed = BadFile("The picture cannot be used.", why="There is not enough memory for it.")
    except Exception as error:  # noqa: BLE001 - of a damaged file decoders raise whatever they like
        failed = BadFile("The picture cannot be used.", why=f"It is damaged ({error}).")
    words = {"what": failed.what, "why": failed.why, "next": failed.next}
    return b"-", packed(words, b"")


def main(source: IO[bytes], result: IO[bytes]) -> None:
    """Do what arrives until nothing does."""
    bound()
    while len(head := source.read(HEAD.size)) == HEAD.size:
        letter, length = HEAD.unpack(head)
        result.write(frame(*work(letter, source.read(length))))
        result.flush()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.stdin.buffer, sys.stdout.buffer)
