"""Pictures through `steprun serve` on tiny Step: every format, every API, and by address."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from runner.chat.images.tokens import image_tokens
from tests.engine.conftest import Served, serve
from tests.fakes.picture_host import PictureHost

pytestmark = pytest.mark.engine

SIZE, SMALL = (800, 630), (64, 48)
KINDS = ("PNG", "JPEG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF")


def painted(kind: str, size: tuple[int, int] = SIZE) -> bytes:
    from PIL import Image

    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, kind)
    return out.getvalue()


@pytest.fixture(scope="module")
def trusting(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that downloads pictures from this machine, too."""
    home = tmp_path_factory.mktemp("home")
    model = ("--model", str(tiny / "tiny-step.gguf"), "--ctx", "8192")
    with serve(home, *model, "--picture-urls", "all") as running:
        yield running


@pytest.fixture(scope="module")
def host() -> Iterator[PictureHost]:
    files = {f"/{kind}": painted(kind) for kind in ("PNG", "WEBP")}
    files |= {f"/{kind}-small": painted(kind, SMALL) for kind in ("JPEG", "AVIF")}
    with PictureHost(files) as running:
        yield running


def post(served: Served, path: str, document: dict[str, Any]) -> Any:
    import httpx2

    reply = httpx2.post(f"{served.url}{path}", json=document, timeout=280)
    assert reply.status_code == 200, reply.text
    return reply.json()


def data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"


def counted(served: Served, *urls: str) -> int:
    """The tokens of a question, as the engine counts them; it answers nothing, so it is quick."""
    parts: list[dict[str, Any]] = []
    for url in urls:
        mime, _, data = url.removeprefix("data:").partition(";base64,")
        source = {"type": "base64", "media_type": mime, "data": data}
        parts.append({"type": "image", "source": source if data else {"type": "url", "url": url}})
    content = [*parts, {"type": "text", "text": "Hello"}]
    asked = {"messages": [{"role": "user", "content": content}], "max_tokens": 1}
    return int(post(served, "/v1/messages/count_tokens", asked)["input_tokens"])


def test_each_format_costs_what_we_say(trusting: Served) -> None:
    urls = [data_url(kind, painted(kind)) for kind in KINDS]
    assert counted(trusting, *urls) - counted(trusting) == len(KINDS) * image_tokens(*SIZE)


def test_pictures_by_address_cost_the_same(trusting: Served, host: PictureHost) -> None:
    urls = [f"{host.url}/WEBP", f"{host.url}/PNG"]
    assert counted(trusting, *urls) - counted(trusting) == 2 * image_tokens(*SIZE)
    assert counted(trusting, *urls) - counted(trusting) == 2 * image_tokens(*SIZE)
    # Each is downloaded once, and by the gateway.
    assert sorted(host.paths) == ["/PNG", "/WEBP"]
    assert {headers["User-Agent"].split("/")[0] for _, headers in host.asked} == {"steprun"}


def test_one_picture_through_three_apis_is_read_once(trusting: Served) -> None:
    url = data_url("WEBP", painted("WEBP", SMALL))
    expected = counted(trusting) + image_tokens(*SMALL)
    assert counted(trusting, url) == expected
    content: list[dict[str, Any]] = [
        {"type": "input_image", "image_url": url},
        {"type": "input_text", "text": "Hello"},
    ]
    asked: dict[str, Any] = {
        "input": [{"role": "user", "content": content}],
        "max_output_tokens": 1,
    }
    assert post(trusting, "/v1/responses", asked)["usage"]["input_tokens"] == expected
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Hello"}]
    asked = {"messages": [{"role": "user", "content": content}], "max_tokens": 1}
    usage = post(trusting, "/v1/chat/completions", asked)["usage"]
    assert usage["prompt_tokens"] == expected
    # It was converted to the same bytes, so that the engine knows it from the other API.
    assert usage["prompt_tokens_details"]["cached_tokens"] > image_tokens(*SMALL)


# As in the model card of Step-3.7-Flash: what is in this picture, compare these two, read it all.
def test_the_makers_examples(trusting: Served, host: PictureHost) -> None:
    import openai

    photo, taxi = f"{host.url}/JPEG-small", f"{host.url}/AVIF-small"
    first = [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image_url", "image_url": {"url": photo}},
    ]
    second = [
        {"type": "image_url", "image_url": {"url": photo}},
        {"type": "image_url", "image_url": {"url": taxi}},
        {"type": "text", "text": "Compare these two images in 100 words or less."},
    ]
    third = [
        {"type": "image_url", "image_url": {"url": taxi}},
        {"type": "text", "text": "Read all the text in the image."},
    ]
    with openai.OpenAI(base_url=f"{trusting.url}/v1", api_key="EMPTY", max_retries=0) as client:
        for content in (first, second, third):
            messages: Any = [{"role": "user", "content": content}]
            reply = client.chat.completions.create(
                model="step-3.7-flash", messages=messages, max_tokens=5
            )
            assert reply.choices[0].finish_reason in {"stop", "length"}
            assert reply.usage is not None
            assert reply.usage.prompt_tokens > image_tokens(*SMALL)


def test_what_is_refused_names_the_picture(trusting: Served, host: PictureHost) -> None:
    import httpx2

    part = {"type": "image_url", "image_url": {"url": f"{host.url}/status/404"}}
    asked = {"messages": [{"role": "user", "content": [part]}]}
    reply = httpx2.post(f"{trusting.url}/v1/chat/completions", json=asked, timeout=60)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["param"] == "messages[0].content[0].image_url"
    assert host.url not in json.dumps(error)
    assert host.url not in trusting.log()
