"""Finds the pictures of a body, by the shapes that each API gives them. Pure.

What is found here is all that the engine would take for a picture (llama.cpp b11549,
`oaicompat_content_load_media` and the converters before it): what is neither found nor refused here
the engine might download by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from runner.gateway.aside import Aside, Buffer
from runner.gateway.refusal import Refusal

_BASE64: Final = b";base64,"
_URL_HEAD: Final = 64  # bytes of a data URL that hold what is before its data
Form = Literal["url", "source", "bare"]
_NO_MEDIA: Final = {
    "input_audio": "audio",
    "audio_url": "audio",
    "input_video": "video",
    "video_url": "video",
    "input_file": "files",
    "file": "files",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one picture is in a body: `container[key]`.

    `form`: what stands there: an URL, a `source` of Anthropic's, or bare base64. `head` and `text`
    together are its URL; `path` is its name for people.
    """

    container: Any
    key: Any
    form: Form
    text: str
    path: str
    head: str = ""

    @property
    def is_address(self) -> bool:
        """Whether the picture has to be downloaded."""
        return not self.head and ":" in self.text[:64] and self.text[:5].lower() != "data:"

    def url(self, aside: Aside) -> list[Buffer]:
        """Return it as a URL, in its parts."""
        return aside.parts(f"{self.head}{self.text}".encode())

    def put(self, url: Buffer, aside: Aside) -> None:
        """Put another picture there. `url`: a data URL, ASCII that JSON need not escape."""
        begins = bytes(url[:_URL_HEAD]).find(_BASE64) + len(_BASE64)
        head, data = bytes(url[:begins]).decode(), aside.add(memoryview(url)[begins:])
        mime = head.removeprefix("data:").removesuffix(_BASE64.decode())
        source = {"type": "base64", "media_type": mime, "data": data}
        forms = {"url": head + data, "bare": data, "source": source}
        self.container[self.key] = forms[self.form]


def find(document: dict[str, Any]) -> tuple[list[Place], bool]:
    """Return the pictures of a body in their order, and whether the body was changed to find them.

    Raises Refusal (400) for what is no picture that can be used, and for audio, video and files.
    """
    search = _PlaceSearch()
    places = [
        *search.messages(document.get("messages"), "messages"),
        *search.messages(document.get("input"), "input"),
        *search.prompts(document.get("prompt"), "prompt"),
    ]
    return places, search.changed


class _PlaceSearch:
    def __init__(self) -> None:
        self.changed = False

    def messages(self, messages: Any, path: str) -> Iterator[Place]:
        for at, message in _objects(messages):
            for field in ("content", "output"):
                yield from self._parts(message.get(field), f"{path}[{at}].{field}")

    def prompts(self, prompt: Any, path: str) -> Iterator[Place]:
        """Find the pictures of llama-server's own completions."""
        for at, each in [(-1, prompt)] if isinstance(prompt, dict) else _objects(prompt):
            name = f"{path}{f'[{at}]' if at >= 0 else ''}.multimodal_data"
            given = each.get("multimodal_data")
            for place, text in enumerate(given if isinstance(given, list) else ()):
                if not isinstance(text, str):
                    raise _wrong(f"{name}[{place}]", "must be base64")
                yield Place(
                    given, place, "bare", text, f"{name}[{place}]", "data:image/any;base64,"
                )

    def _parts(self, content: Any, path: str) -> Iterator[Place]:
        for at, part in _objects(content):
            here = f"{path}[{at}]"
            match part.get("type"):
                case "image_url":
                    yield self._chat(part, f"{here}.image_url")
                case "input_image":
                    yield self._responses(part, f"{here}.image_url")
                case "image":
                    yield self._messages(part, f"{here}.source")
                case "tool_result":
                    yield from self._parts(part.get("content"), f"{here}.content")
                case "document":
                    self._document(content, at, part, here)
                case str(kind) if kind in _NO_MEDIA:
                    raise _wrong(here, f"is of type {kind}: this model reads no {_NO_MEDIA[kind]}")

    def _chat(self, part: dict[str, Any], path: str) -> Place:
        if isinstance(part.get("image_url"), str):  # the engine takes only the object
            part["image_url"] = {"url": part["image_url"]}
            self.changed = True
        given = part.get("image_url")
        if not isinstance(given, dict) or not isinstance(given.get("url"), str):
            raise _wrong(path, 'must be {"url": "data:image/...;base64,... or https://..."}')
        return Place(given, "url", "url", given["url"], path)

    def _responses(self, part: dict[str, Any], path: str) -> Place:
        given = part.get("image_url")
        if isinstance(given, dict) and isinstance(given.get("url"), str):
            given = part["image_url"] = given["url"]
            self.changed = True
        if given is None and part.get("file_id"):
            raise _wrong(path, "is missing: files are not kept here, so file_id has no meaning")
        if not isinstance(given, str):
            raise _wrong(path, 'must be "data:image/...;base64,..." or "https://..."')
        return Place(part, "image_url", "url", given, path)

    def _messages(self, part: dict[str, Any], path: str) -> Place:
        source: Any = part.get("source")
        match source:
            case {"type": "base64", "data": str(data)}:
                mime = source.get("media_type", "image/png")
                if not isinstance(mime, str):
                    raise _wrong(f"{path}.media_type", "must be a text, such as image/png")
                return Place(part, "source", "source", data, path, f"data:{mime};base64,")
            case {"type": "url", "url": str(url)}:
                return Place(part, "source", "source", url, path)
            case {"type": "file"}:
                raise _wrong(path, "is a file: none are kept here; send the picture as base64")
        raise _wrong(path, 'must be {"type": "base64", "media_type": ..., "data": ...}')

    def _document(self, content: Any, at: int, part: dict[str, Any], path: str) -> None:
        """Replace a document that is text by its text."""
        match part.get("source"):
            case {"type": "text", "data": str(text)}:
                title = part.get("title")
                head = f"{title}\n\n" if isinstance(title, str) and title else ""
                content[at] = {"type": "text", "text": f"{head}{text}"}
                self.changed = True
            case _:
                raise _wrong(path, "is a document: only plain text is read; send pages as pictures")


def _objects(given: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for at, each in enumerate(given if isinstance(given, list) else ()):
        if isinstance(each, dict):
            yield at, each


def _wrong(path: str, why: str) -> Refusal:
    return Refusal(400, f"{path} {why}.", param=path)
