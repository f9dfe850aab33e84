"""Replaces every picture of a request by one that the engine decodes."""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from runner.chat.images.tokens import OVERVIEW_TOKENS
from runner.gateway.aside import Buffer
from runner.gateway.calls import Asked
from runner.gateway.pictures.converter import Converter
from runner.gateway.pictures.fetch import Fetcher, reach_of
from runner.gateway.pictures.find import Place, find
from runner.gateway.pictures.recent import Recent
from runner.gateway.refusal import Refusal
from runner.gateway.settings import Settings

DOWNLOADS: Final = 20  # of one request
AT_ONCE: Final = 4  # downloads of all requests, each of at most 20 MiB
DOWNLOADS_S: Final = 60.0  # for all of one request, converted
URL_LIFE_S: Final = 600.0  # an agent's next turn finds the same picture; what has changed is seen
WAITING: Final = 32  # requests whose pictures are settled or wait for it
_BLIND: Final = "This model was started without its vision encoder: it reads no pictures."
_FULL: Final = "Too many requests with pictures at once."
_SLOW: Final = f"The pictures could not be downloaded within {DOWNLOADS_S:.0f} s."


def blind(settings: Settings) -> str:
    """Return why no picture is read."""
    why = settings.less_because
    return f"Pictures are not read now: the vision encoder is off. {why}" if why else _BLIND


class Pictures:
    """The pictures of all requests. Close it at the end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._fetcher = Fetcher(reach_of(settings.picture_urls))
        self.converter = Converter()
        self._recent = Recent()
        self._turn = asyncio.Lock()  # two at once would take twice the memory
        self._downloads = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def close(self) -> None:
        """End what runs."""
        await self.converter.close()

    def find(self, asked: Asked) -> list[Place]:
        """Return where the pictures of a request are. Raises Refusal (400) as `find.find` does."""
        places, changed = find(asked.document)
        asked.changed |= changed
        return places

    async def settle(self, asked: Asked, places: list[Place]) -> None:
        """Replace the pictures of a request by PNG or JPEG in base64, where they are not yet.

        A body in which nothing had to be changed keeps its very bytes. Raises Refusal (400) for a
        picture that cannot be used, and says which and why; 503 where too many wait.
        """
        if not places:
            return
        self._check(asked, places)
        if self._waiting >= WAITING:
            raise Refusal(503, _FULL, retry_after_s=5)
        self._waiting += 1
        try:
            downloaded = await self._download(each for each in places if each.is_address)
            urls = [await self._settled(asked, each, downloaded) for each in places]
        finally:
            self._waiting -= 1
        for place, url in zip(places, urls, strict=True):
            if url:
                place.put(url, asked.aside)
                asked.changed = True

    def _check(self, asked: Asked, places: list[Place]) -> None:
        if not self.settings.sees:
            raise Refusal(400, blind(self.settings), param=places[0].path)
        most = self.settings.context // OVERVIEW_TOKENS
        if most and len(places) > most:
            why = f"{len(places)} pictures are more than the context holds, which is {most}."
            raise Refusal(400, why, param=places[most].path)
        for each in places:
            if each.is_address:
                with _named(each):
                    self._fetcher.check(asked.aside.whole(each.text))

    async def _download(self, places: Iterable[Place]) -> dict[str, Buffer]:
        """Return the data URLs of pictures by address, by it."""
        found: dict[str, Buffer] = {}
        missing: dict[str, Place] = {}
        for each in places:
            if (kept := self._recent.get(("url", each.text))) is not None:
                found[each.text] = kept
            else:
                missing.setdefault(each.text, each)
        if len(missing) > DOWNLOADS:
            last = list(missing.values())[DOWNLOADS]
            raise Refusal(400, f"More than {DOWNLOADS} pictures by address.", param=last.path)
        try:
            async with asyncio.timeout(DOWNLOADS_S), asyncio.TaskGroup() as group:
                tasks = {
                    text: group.create_task(self._downloaded(place))
                    for text, place in missing.items()
                }
        except TimeoutError:
            raise Refusal(400, _SLOW) from None
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return found | {text: task.result() for text, task in tasks.items()}

    async def _downloaded(self, place: Place) -> Buffer:
        with _named(place):
            async with self._downloads:
                data = await self._fetcher.download(place.text)
                url = await self._converted(b"b", [data])
        self._recent.put(("url", place.text), url, URL_LIFE_S)
        return url

    async def _settled(self, asked: Asked, place: Place, downloaded: dict[str, Buffer]) -> Buffer:
        """Return the data URL to put in a place, empty where it may stay as it is."""
        if place.is_address:
            return downloaded[place.text]
        with _named(place):
            return await self._converted(b"u", place.url(asked.aside))

    async def _converted(self, letter: bytes, source: Sequence[Buffer]) -> Buffer:
        key = (letter, await asyncio.to_thread(_digest, source))
        if (kept := self._recent.get(key)) is not None:
            return kept
        async with self._turn:
            if (kept := self._recent.get(key)) is not None:
                return kept  # another request sent the same
            kind, result = await self.converter.convert(letter, source)
        if kind == b"-":
            raise Refusal(400, result.decode("utf-8", "replace"))
        self._recent.put(key, result)
        return result


@contextmanager
def _named(place: Place) -> Iterator[None]:
    """Say of a refusal within the block which picture it is about."""
    try:
        yield
    except Refusal as refusal:
        if not refusal.param:
            refusal.param = place.path
            refusal.message = f"{place.path}: {refusal.message}"
        raise


def _digest(parts: Sequence[Buffer]) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.digest()
