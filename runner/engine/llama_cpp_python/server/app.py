"""llama_cpp.server's app, with the repairs of what touches its requests."""

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, Final

import llama_cpp
import pydantic
from llama_cpp import _ctypes_extensions, _ggml
from llama_cpp import llama_cpp as native
from llama_cpp.server import settings, types
from starlette.middleware.cors import CORSMiddleware

from .flags import FLAGS, Wanted
from .model import Llama, VisionHandler

LOCAL_PAGES: Final = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


def _publisher(publish: Any) -> Any:
    """Return the app's sender of events, made to report an error in mid-answer."""

    async def send(*, inner_send_chan: Any, **rest: Any) -> None:
        async with inner_send_chan.clone() as own:
            try:
                await publish(inner_send_chan=inner_send_chan, **rest)
            except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for a word
                sys.stderr.write(f"error: {error}\n")
                too_long = "exceed context window" in str(error) or "exceeds n_ctx" in str(error)
                kind = "exceed_context_size_error" if too_long else "server_error"
                with contextlib.suppress(Exception):  # nobody listens any more
                    await own.send(
                        {"data": json.dumps({"error": {"message": str(error), "type": kind}})}
                    )

    return send


def make(wanted: Wanted) -> Any:
    """Load the model and return the app. Raises what llama_cpp raises where it does not load."""
    base = types.CreateChatCompletionRequest
    fields: dict[str, Any] = {
        "reasoning_effort": (str | None, None),
        "chat_template_kwargs": (dict[str, Any] | None, None),
        "stream_options": (dict[str, Any] | None, None),
        # Its own type has no pictures in a tool's message, and drops `reasoning_content`.
        "messages": (list[dict[str, Any]], []),
    }
    fields |= {k: (base.model_fields[k].annotation, v) for k, v in wanted["request"].items()}
    # Taken by name when the app is imported: this has to come first.
    types.CreateChatCompletionRequest = pydantic.create_model(
        base.__name__, __base__=base, **fields
    )
    from llama_cpp.server import app as served  # noqa: PLC0415 - see above

    served.get_event_publisher = _publisher(served.get_event_publisher)
    VisionHandler.on_gpu = wanted["own"]["sight_on_gpu"]
    llama_cpp.Llama = Llama
    llama_cpp.llama_chat_format.MTMDChatHandler = VisionHandler
    native.llama_model_default_params = _changed(
        native.llama_model_default_params, wanted["params"]
    )
    constants = {flag.key for flag in FLAGS.values() if flag.kind == "constant"}
    model = {k: getattr(llama_cpp, v) if k in constants else v for k, v in wanted["model"].items()}
    os.environ.pop("CONFIG_FILE", None)  # it would replace all of this
    app = served.create_app(
        # model_construct: these classes would else read the environment.
        server_settings=settings.ServerSettings.model_construct(**wanted["server"]),
        model_settings=[settings.ModelSettings.model_construct(**model)],
    )
    if wanted["own"]["origins"] != "*":
        app.user_middleware = [m for m in app.user_middleware if m.cls is not CORSMiddleware]
        app.add_middleware(
            CORSMiddleware,
            allow_origin_regex=LOCAL_PAGES,
            allow_methods=["*"],
            allow_headers=["*"],
        )
    app.add_api_route("/health", lambda: {"status": "ok"})
    return app


def _changed(defaults: Any, params: dict[str, Any]) -> Any:
    """Return a function that gives llama.cpp's default parameters with some of them changed."""

    def changed() -> Any:
        struct = defaults()
        for key, value in params.items():
            setattr(struct, key, value)
        return struct

    return changed


def devices() -> Iterator[str]:
    """Yield the accelerators that this build sees, in the words of llama-server."""
    base = _ctypes_extensions.load_shared_library("ggml-base", _ggml.libggml_base_path)
    registry = _ggml.libggml
    registry.ggml_backend_dev_count.restype = ctypes.c_size_t
    registry.ggml_backend_dev_get.restype = ctypes.c_void_p
    for query in (base.ggml_backend_dev_name, base.ggml_backend_dev_description):
        query.restype = ctypes.c_char_p
    yield "Available devices:"
    for number in range(registry.ggml_backend_dev_count()):
        device = ctypes.c_void_p(registry.ggml_backend_dev_get(ctypes.c_size_t(number)))
        if base.ggml_backend_dev_type(device) == 0:  # the processor, which is always there
            continue
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        base.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
        name = base.ggml_backend_dev_name(device).decode("utf-8", "replace")
        what = base.ggml_backend_dev_description(device).decode("utf-8", "replace")
        yield f"  {name}: {what} ({total.value >> 20} MiB, {free.value >> 20} MiB free)"
