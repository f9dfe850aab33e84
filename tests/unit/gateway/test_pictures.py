"""The pictures of a request: found in the bodies of each API, converted once, refused in words."""

import asyncio
import base64
import io
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from PIL import Image

from runner.chat.images.converting import convert
from runner.gateway.aside import Buffer
from runner.gateway.calls import Asked, call_of
from runner.gateway.pictures import settle as settling
from runner.gateway.pictures.converter import Converter, Result
from runner.gateway.pictures.find import find
from runner.gateway.pictures.recent import Recent
from runner.gateway.pictures.settle import Pictures
from runner.gateway.refusal import Refusal
from runner.gateway.routes import routes
from runner.gateway.settings import Settings
from tests.fakes.picture_host import PictureHost

SETTINGS = Settings(sees=True, context=100_000, picture_urls="all")


def painted(kind: str, size: tuple[int, int] = (60, 40), colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind.lower()};base64,{base64_of(data)}"


def chat(*urls: Any) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url, "detail": "low"}} for url in urls]
    text = {"type": "text", "text": "What is this?"}
    return {"model": "m", "messages": [{"role": "user", "content": [*parts, text]}]}


def responses(*urls: Any) -> dict[str, Any]:
    parts = [{"type": "input_image", "image_url": url, "detail": "auto"} for url in urls]
    output = {"type": "function_call_output", "call_id": "c", "output": parts}
    return {"input": [{"role": "user", "content": parts[:1]}, output] if urls else "Hello"}


def messages(*sources: Any) -> dict[str, Any]:
    images = [{"type": "image", "source": source} for source in sources]
    result = {"type": "tool_result", "tool_use_id": "t", "content": images}
    return {"max_tokens": 9, "messages": [{"role": "user", "content": [*images, result]}]}


def bare(*texts: Any) -> dict[str, Any]:
    return {"prompt": {"prompt_string": "<__media__>", "multimodal_data": list(texts)}}


def asked_of(document: dict[str, Any], path: str = "/v1/chat/completions") -> Asked:
    data = json.dumps(document, indent=1).encode()  # as the engine would never write it
    return Asked(routes()[path], data, json.loads(data), path)


class Here(Converter):
    """Converts in this process, which takes no time to start."""

    async def convert(self, letter: bytes, source: Sequence[Buffer]) -> Result:
        self.started += 1
        return convert(letter, b"".join(source))


def pictures_of(settings: Settings) -> Pictures:
    found = Pictures(settings)
    found.converter = Here()
    return found


@pytest.fixture
def pictures() -> Pictures:
    return pictures_of(SETTINGS)


@pytest.fixture
async def converter() -> AsyncIterator[Converter]:
    found = Converter()
    yield found
    await found.close()


async def settled(pictures: Pictures, document: dict[str, Any]) -> tuple[bytes, Any]:
    """What the engine is sent: its bytes, and what they say."""
    asked = asked_of(document)
    await pictures.settle(asked, pictures.find(asked))
    body = b"".join(call_of(asked).body)
    return body, json.loads(body)


async def refused(pictures: Pictures, document: dict[str, Any]) -> Refusal:
    asked = asked_of(document)
    try:
        await pictures.settle(asked, pictures.find(asked))
    except Refusal as refusal:
        return refusal
    raise AssertionError("not refused")


PNG, JPEG, WEBP = painted("PNG"), painted("JPEG"), painted("WEBP")


async def test_what_needs_nothing_keeps_its_very_bytes(pictures: Pictures) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": base64_of(PNG)}
    for document in (
        chat(data_url("PNG", PNG), data_url("JPEG", JPEG)),
        responses(data_url("PNG", PNG)),
        messages(source),
        bare(base64_of(PNG)),
        {"messages": [{"role": "user", "content": "Hello"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
        {"prompt": "Hello"},
        {"prompt": [1, 2, 3], "messages": None, "input": 5},
    ):
        body, _ = await settled(pictures, document)
        assert body == json.dumps(document, indent=1).encode()


async def test_without_pictures_no_process_starts(pictures: Pictures) -> None:
    await settled(pictures, {"messages": [{"role": "user", "content": "Hello"}]})
    assert pictures.converter.started == 0


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF"])
async def test_each_format_through_each_api(pictures: Pictures, kind: str) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    data = painted(kind)
    url, text = data_url(kind, data), base64_of(data)
    mime = "image/jpeg" if kind in {"AVIF", "HEIF"} else "image/png"

    _, said = await settled(pictures, chat(url))
    first = said["messages"][0]["content"][0]["image_url"]
    assert first["detail"] == "low"
    assert first["url"].startswith(f"data:{mime};base64,")
    shown = Image.open(io.BytesIO(base64.b64decode(first["url"].partition(",")[2])))
    assert shown.format == mime.split("/")[1].upper()
    assert shown.size == (60, 40)

    _, said = await settled(pictures, responses(url, url))
    assert said["input"][0]["content"][0]["image_url"] == first["url"]
    assert said["input"][1]["output"][1]["image_url"] == first["url"]

    source = {"type": "base64", "media_type": f"image/{kind.lower()}", "data": text}
    _, said = await settled(pictures, messages(source))
    (image, result) = said["messages"][0]["content"]
    assert image["source"] == result["content"][0]["source"]
    assert image["source"]["media_type"] == mime
    assert f"data:{mime};base64,{image['source']['data']}" == first["url"]

    _, said = await settled(pictures, bare(text))
    assert f"data:{mime};base64,{said['prompt']['multimodal_data'][0]}" == first["url"]


async def test_the_others_of_a_changed_body_stay_as_they_are(pictures: Pictures) -> None:
    kept = data_url("PNG", PNG)
    document = chat(kept, data_url("WEBP", WEBP), kept)
    _, said = await settled(pictures, document)
    parts = said["messages"][0]["content"]
    assert parts[0]["image_url"]["url"] == parts[2]["image_url"]["url"] == kept
    parts[1] = document["messages"][0]["content"][1]
    assert said == document


async def test_a_picture_is_turned_and_made_to_fit(pictures: Pictures) -> None:
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4000, 100)).save(out, "JPEG", exif=exif)
    _, said = await settled(pictures, chat(data_url("JPEG", out.getvalue())))
    url = said["messages"][0]["content"][0]["image_url"]["url"]
    assert Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size == (75, 3024)


PNG_TEXT = base64_of(PNG)


@pytest.mark.parametrize(
    "url",
    [
        PNG_TEXT,
        f"data:image/png;base64,{PNG_TEXT[:40]}\n{PNG_TEXT[40:]}",
        f"data:image/png;base64,{PNG_TEXT.rstrip('=')}",
        f"DATA:image/png;BASE64,{PNG_TEXT}",
        f"data:application/octet-stream;base64,{PNG_TEXT}",
        f"data:image/png;name=a.png;base64,{PNG_TEXT}",
        f"data:;base64,{PNG_TEXT}",
        f"data:image/png;base64,{PNG_TEXT.replace('+', '-').replace('/', '_')}",
        f"data:image/png;base64,{PNG_TEXT.replace('+', '%2B').replace('=', '%3D')}",
        f"data:image/png;base64,{base64_of(PNG + bytes(1))}",
    ],
)
async def test_what_is_written_oddly_is_written_as_the_engine_reads_it(
    pictures: Pictures, url: str
) -> None:
    _, said = await settled(pictures, chat(url))
    written = said["messages"][0]["content"][0]["image_url"]["url"]
    assert written.startswith("data:image/png;base64,")
    assert base64.b64decode(written.partition(",")[2], validate=True)[: len(PNG)] == PNG


async def test_a_bare_address_in_a_part_becomes_the_object(pictures: Pictures) -> None:
    document = chat(data_url("PNG", PNG))
    part = document["messages"][0]["content"][0]
    part["image_url"] = part["image_url"]["url"]
    _, said = await settled(pictures, document)
    assert said["messages"][0]["content"][0]["image_url"] == {"url": data_url("PNG", PNG)}
    document = responses({"url": data_url("PNG", PNG)})
    _, said = await settled(pictures, document)
    assert said["input"][0]["content"][0]["image_url"] == data_url("PNG", PNG)


@pytest.mark.parametrize(
    ("document", "param", "words"),
    [
        (chat(data_url("PNG", b"no picture")), "messages[0].content[0].image_url", "not a PNG"),
        (chat("data:image/png;base64,????"), "messages[0].content[0].image_url", "base64"),
        (chat(""), "messages[0].content[0].image_url", "not a PNG"),
        (chat(7), "messages[0].content[0].image_url", "must be"),
        (chat(None), "messages[0].content[0].image_url", "must be"),
        (chat("file:///etc/passwd"), "messages[0].content[0].image_url", "http://"),
        (chat("http://me:x@a.example/"), "messages[0].content[0].image_url", "password"),
        (responses(None), "input[0].content[0].image_url", "must be"),
        (messages({"type": "file", "file_id": "f"}), "messages[0].content[0].source", "file"),
        (messages({"type": "base64"}), "messages[0].content[0].source", "must be"),
        (messages("x"), "messages[0].content[0].source", "must be"),
        (messages({"type": "base64", "media_type": 5, "data": ""}), "media_type", "text"),
        (bare(5), "prompt.multimodal_data[0]", "base64"),
    ],
)
async def test_what_is_no_picture_is_refused_in_words(
    pictures: Pictures, document: dict[str, Any], param: str, words: str
) -> None:
    refusal = await refused(pictures, document)
    assert refusal.status == 400
    assert param in refusal.param
    assert param in refusal.message
    assert words in refusal.message


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "input_audio", "input_audio": {"url": "http://127.0.0.1/"}}, "audio"),
        ({"type": "input_video", "input_video": {"url": "http://127.0.0.1/"}}, "video"),
        ({"type": "video_url", "video_url": {"url": "http://127.0.0.1/"}}, "video"),
        ({"type": "input_file", "file_id": "f"}, "files"),
        ({"type": "file", "file": {}}, "files"),
        ({"type": "input_image", "file_id": "f"}, "file_id"),
        ({"type": "document", "source": {"type": "base64", "data": "JVBERi0="}}, "document"),
        ({"type": "document", "source": {"type": "url", "url": "http://127.0.0.1/"}}, "document"),
    ],
)
async def test_other_media_are_refused_before_the_engine_downloads_them(
    pictures: Pictures, part: dict[str, Any], words: str
) -> None:
    for field in ("messages", "input"):
        refusal = await refused(pictures, {field: [{"role": "user", "content": [part]}]})
        assert refusal.status == 400
        assert words in refusal.message
        assert refusal.param.startswith(f"{field}[0].content[0]")


async def test_a_document_of_plain_text_is_read_as_text(pictures: Pictures) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Grass is green."}
    part = {"type": "document", "source": source, "title": "Facts"}
    _, said = await settled(pictures, {"messages": [{"role": "user", "content": [part]}]})
    assert said["messages"][0]["content"] == [{"type": "text", "text": "Facts\n\nGrass is green."}]


def test_what_only_looks_like_a_picture_is_left_alone() -> None:
    picture = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}
    call = {"type": "tool_use", "id": "t", "name": "show", "input": picture}
    tool = {"name": "show", "input_schema": {"type": "object", "properties": {"a": picture}}}
    document = {"messages": [{"role": "assistant", "content": [call]}], "tools": [tool]}
    assert find(document) == ([], False)
    for odd in ({"messages": {"a": 1}}, {"messages": [5, None]}, {"input": [{"content": 5}]}, {}):
        assert find(odd) == ([], False)


async def test_a_model_that_does_not_see_downloads_nothing() -> None:
    with PictureHost() as host:
        pictures = pictures_of(Settings(sees=False, picture_urls="all"))
        refusal = await refused(pictures, chat(f"{host.url}/a.png"))
        assert "vision encoder" in refusal.message
        assert host.asked == []
        assert pictures.converter.started == 0


async def test_more_pictures_than_the_context_holds_are_refused_first() -> None:
    pictures = pictures_of(Settings(sees=True, context=1000))
    refusal = await refused(pictures, chat(*["data:image/png;base64,"] * 6))
    assert "6 pictures" in refusal.message
    assert pictures.converter.started == 0


async def test_pictures_by_address_through_each_api(pictures: Pictures) -> None:
    with PictureHost({"/a.webp": WEBP, "/b.png": PNG}) as host:
        a, b = f"{host.url}/a.webp", f"{host.url}/b.png"
        _, said = await settled(pictures, chat(a, b, a))
        urls = [part["image_url"]["url"] for part in said["messages"][0]["content"][:3]]
        assert urls[1] == data_url("PNG", PNG)
        assert urls[0] == urls[2]
        assert urls[0].startswith("data:image/png;base64,")
        _, said = await settled(pictures, responses(a))
        assert said["input"][0]["content"][0]["image_url"] == urls[0]
        _, said = await settled(pictures, messages({"type": "url", "url": b}))
        source = said["messages"][0]["content"][0]["source"]
        assert source == {"type": "base64", "media_type": "image/png", "data": base64_of(PNG)}
        # Once each, whatever the number of turns.
        assert sorted(host.paths) == ["/a.webp", "/b.png"]


async def test_the_same_conversation_is_sent_as_the_same_bytes(pictures: Pictures) -> None:
    document = chat(data_url("WEBP", WEBP), data_url("JPEG", JPEG))
    at_once = await asyncio.gather(*(settled(pictures, document) for _ in range(3)))
    later = await settled(pictures, document)
    assert pictures.converter.started == 2  # one for each picture
    fresh = await settled(pictures_of(SETTINGS), document)  # after a restart, too
    assert {body for body, _ in (*at_once, later, fresh)} == {later[0]}


async def test_an_address_is_asked_anew_when_its_time_is_over(pictures: Pictures) -> None:
    now = [0.0]
    pictures._recent = Recent(clock=lambda: now[0])
    with PictureHost({"/a.png": PNG}) as host:
        for now[0] in (0, settling.URL_LIFE_S - 1, settling.URL_LIFE_S + 1):
            await settled(pictures, chat(f"{host.url}/a.png"))
        assert len(host.asked) == 2


async def test_so_many_downloads_and_no_more(pictures: Pictures) -> None:
    with PictureHost({f"/{n}": PNG for n in range(30)}) as host:
        refusal = await refused(pictures, chat(*[f"{host.url}/{n}" for n in range(21)]))
        assert "20 pictures" in refusal.message
        assert host.asked == []
        await settled(pictures, chat(*[f"{host.url}/{n}" for n in range(20)]))
        assert len(host.asked) == 20


async def test_one_bad_address_of_many_is_named(pictures: Pictures) -> None:
    with PictureHost({"/a": PNG}) as host:
        refusal = await refused(pictures, chat(f"{host.url}/a", f"{host.url}/status/404"))
        assert refusal.param == "messages[0].content[1].image_url"
        assert "answers 404" in refusal.message
        assert host.url not in refusal.message
        refusal = await refused(pictures, chat(f"{host.url}/html"))
        assert "not a PNG" in refusal.message


async def test_off_names_the_option(pictures: Pictures) -> None:
    refusal = await refused(Pictures(Settings(sees=True, picture_urls="off")), chat("https://a/b"))
    assert "--picture-urls off" in refusal.message


async def test_too_many_waiting_are_told_to_come_back(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "WAITING", 0)
    refusal = await refused(pictures, chat(data_url("PNG", PNG)))
    assert (refusal.status, refusal.retry_after_s) == (503, 5)
    monkeypatch.undo()
    await settled(pictures, chat(data_url("PNG", PNG)))


# --- the process


DIES = "import os; os.read(0, 1); os._exit(9)"
HANGS = "import threading; threading.Event().wait()"
LIES = "import sys; sys.stdin.buffer.read(1); sys.stdout.buffer.write(b'+' + b'\\xff' * 8)"
ENDS = "import sys; sys.stdout.buffer.write(b'+' + bytes(7) + b'\\x09abc')"


@pytest.mark.parametrize(("program", "words"), [(DIES, "decoded"), (LIES, "decoded"), (ENDS, "d")])
async def test_a_decoder_that_dies_takes_only_its_picture(program: str, words: str) -> None:
    converter = Converter((sys.executable, "-S", "-c", program))
    for _ in range(2):
        with pytest.raises(Refusal, match=words) as caught:
            await converter.convert(b"u", [b"x" * 1_000_000])
        assert caught.value.status == 400
    assert converter.started == 2
    await converter.close()


async def test_a_decoder_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.gateway.pictures.converter.CONVERT_S", 0.5)
    converter = Converter((sys.executable, "-S", "-c", HANGS))
    with pytest.raises(Refusal, match="takes longer"):
        await converter.convert(b"u", [b"x"])
    await converter.close()


async def test_after_a_cancelled_request_the_next_gets_its_own_picture(
    converter: Converter,
) -> None:
    first = asyncio.create_task(converter.convert(b"b", [painted("WEBP", (900, 900))]))
    while not converter.started:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    kind, url = await converter.convert(b"b", [PNG])
    assert (kind, url.decode()) == (b"+", data_url("PNG", PNG))


async def test_its_process_ends_when_there_is_nothing_to_do(
    converter: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.gateway.pictures.converter.IDLE_S", 0.05)
    await converter.convert(b"b", [PNG])
    process = converter._process
    assert process is not None
    await process.wait()
    await converter.convert(b"b", [PNG])
    assert converter.started == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux keeps the limit")
async def test_what_claims_less_than_it_unpacks_to_is_stopped_by_the_limit() -> None:
    out = io.BytesIO()
    Image.new("RGB", (16_000, 16_000), "red").save(out, "AVIF", speed=10, subsampling="4:4:4")
    data = bytearray(out.getvalue())
    at = data.find(b"ispe") + 8
    data[at : at + 8] = (64).to_bytes(4, "big") * 2
    converter = Converter((sys.executable, "-c", PEAK))
    _, told = await converter.convert(b"b", [bytes(data)])
    peak = int(told.rpartition(b" ")[2])
    assert peak < 1200 << 10, "KiB: DATA_BYTES and the interpreter"
    await converter.close()


PEAK = """
import sys
from runner.chat.images import converting as c
c.bound()
letter, length = c.HEAD.unpack(sys.stdin.buffer.read(c.HEAD.size))
kind, result = c.convert(letter, sys.stdin.buffer.read(length))
peak = open('/proc/self/status').read().split('VmHWM:')[1].split()[0]
sys.stdout.buffer.write(c.frame(kind, result[:200] + b' ' + peak.encode()))
"""


async def test_the_loop_is_not_held_up() -> None:
    pictures = Pictures(SETTINGS)
    noise = Image.effect_noise((2000, 1500), 90).convert("RGB")
    out = io.BytesIO()
    noise.save(out, "BMP")
    document = chat(data_url("BMP", out.getvalue()))
    asked = asked_of(document)
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            gaps.append(time.thread_time() - before)

    ticking = asyncio.create_task(tick())
    await pictures.settle(asked, pictures.find(asked))
    ticking.cancel()
    await pictures.close()
    # Processor time of the loop's own thread, so that a busy machine does not count.
    assert max(gaps) < 0.02


def test_a_source_is_converted_alike_in_this_process() -> None:
    kind, url = convert(b"u", data_url("WEBP", WEBP).encode())
    assert (kind, convert(b"b", WEBP)) == (b"+", (b"+", url))
    assert convert(b"u", data_url("PNG", PNG).encode()) == (b"=", b"")
    kind, why = convert(b"u", b"data:image/png;base64,AAAA")
    assert kind == b"-"
    assert b"Choose a" in why


# --- what is kept


def test_what_was_used_least_lately_makes_room() -> None:
    recent = Recent(limit=3 * 1512)
    for key in "abc":
        recent.put(key, b"x" * 1000)
    assert recent.get("a")
    recent.put("d", b"x" * 1000)
    assert [key for key in "abcd" if recent.get(key)] == ["a", "c", "d"]
    recent.put("a", b"y" * 1000)
    assert recent.get("a") == b"y" * 1000
    recent.put("e", b"x" * 10_000)
    assert not any(recent.get(key) for key in "abcde")
    assert recent._bytes == 0
