"""The flags that it takes, as data: llama-server's names, and what each sets. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

Place = Literal["model", "server", "params", "request", "own"]
Kind = Literal["text", "whole", "real", "reals", "off", "on-off", "constant", "load", "key"]
Wanted = dict[str, dict[str, Any]]

# How the file is loaded: (use_mmap, use_mlock). Direct I/O is missing: `none` is nearest.
LOAD_MODES: Final = {
    "mmap": (True, False),
    "none": (False, False),
    "dio": (False, False),
    "mlock": (False, True),
    "mmap+mlock": (True, True),
}


@dataclass(frozen=True, slots=True)
class ServerFlag:
    """One flag: what it sets where, and how.

    `place`: `model` and `server` are llama_cpp.server's settings, `params` llama.cpp's own defaults
    for a model, `request` a request's defaults, `own` is for this package. `constant` is the member
    `prefix + VALUE` of llama_cpp; `off` takes no value.
    """

    place: Place
    key: str
    kind: Kind
    help: str
    prefix: str = ""


FLAGS: Final = {
    "--model": ServerFlag("model", "model", "text", "the GGUF, or its first shard"),
    "--alias": ServerFlag("model", "model_alias", "text", "the model's name"),
    "--mmproj": ServerFlag(
        "model", "clip_model_path", "text", "the projector: pictures can be sent"
    ),
    "--ctx-size": ServerFlag("model", "n_ctx", "whole", "context in tokens"),
    "--batch-size": ServerFlag("model", "n_batch", "whole", "tokens of a batch"),
    "--ubatch-size": ServerFlag("model", "n_ubatch", "whole", "tokens computed at once"),
    "--cache-type-k": ServerFlag("model", "type_k", "constant", "f16, q8_0, ...", "GGML_TYPE_"),
    "--cache-type-v": ServerFlag("model", "type_v", "constant", "f16, q8_0, ...", "GGML_TYPE_"),
    "--flash-attn": ServerFlag("model", "flash_attn", "on-off", "on or off"),
    "--n-gpu-layers": ServerFlag("model", "n_gpu_layers", "whole", "layers on the GPU"),
    "--split-mode": ServerFlag(
        "model", "split_mode", "constant", "none, layer, row", "LLAMA_SPLIT_MODE_"
    ),
    "--tensor-split": ServerFlag("model", "tensor_split", "reals", "share of each card: 3,1"),
    "--main-gpu": ServerFlag("model", "main_gpu", "whole", "the card for what is not split"),
    "--threads": ServerFlag("model", "n_threads", "whole", "threads for decode"),
    "--threads-batch": ServerFlag("model", "n_threads_batch", "whole", "threads for prefill"),
    "--load-mode": ServerFlag("model", "load_mode", "load", ", ".join(LOAD_MODES)),
    "--no-repack": ServerFlag("params", "use_extra_bufts", "off", "do not rearrange weights"),
    "--no-mmproj-offload": ServerFlag("own", "sight_on_gpu", "off", "the projector stays in RAM"),
    "--temp": ServerFlag("request", "temperature", "real", "temperature, if a request names none"),
    "--repeat-penalty": ServerFlag("request", "repeat_penalty", "real", "1: none, which is usual"),
    "--predict": ServerFlag(
        "request", "max_tokens", "whole", "longest answer; none: all that fits"
    ),
    "--host": ServerFlag("server", "host", "text", "where to listen: 127.0.0.1"),
    "--port": ServerFlag("server", "port", "whole", "the port: 8080"),
    "--api-key-file": ServerFlag("server", "api_key", "key", "a file with one key"),
    "--cors-origins": ServerFlag(
        "own", "origins", "text", "pages that may ask: localhost, or all: *"
    ),
}
QUESTIONS: Final = {
    "--help": "these lines",
    "--version": "the version of llama-cpp-python",
    "--list-devices": "what it computes on",
}


def translate(argv: Sequence[str]) -> Wanted:
    """Return what the flags set, by place. Pure, but for the key's file.

    Raises ValueError naming the flag that is unknown, incomplete or has a value it cannot have.
    """
    wanted: Wanted = {
        # `logits_all` would keep 128,896 figures for every token of the context.
        "model": {"logits_all": False, "n_gpu_layers": 99, "verbose": True},
        # A second request waits, instead of ending the first.
        "server": {"host": "127.0.0.1", "port": 8080, "interrupt_requests": False},
        "params": {},
        # The server's own default of 1.1 would penalize every repeated word.
        "request": {"repeat_penalty": 1.0},
        "own": {"sight_on_gpu": True, "origins": "localhost"},
    }
    words = iter(argv)
    for word in words:
        flag = FLAGS.get(word)
        if flag is None:
            raise ValueError(f"unknown flag {word}")
        given = "" if flag.kind == "off" else next(words, None)
        if given is None:
            raise ValueError(f"{word} needs a value")
        try:
            value = _value(flag, given)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{word} cannot be {given!r} ({error})") from error
        if flag.kind == "load":
            wanted["model"] |= dict(zip(("use_mmap", "use_mlock"), value, strict=True))
        else:
            wanted[flag.place][flag.key] = value
    if "model" not in wanted["model"]:
        raise ValueError("--model FILE is missing")
    if "clip_model_path" in wanted["model"]:
        wanted["model"]["chat_format"] = "mtmd"
    return wanted


def _value(flag: ServerFlag, given: str) -> Any:
    match flag.kind:
        case "text":
            return given
        case "whole":
            return int(given)
        case "real":
            return float(given)
        case "reals":
            return [float(part) for part in given.split(",")]
        case "off":
            return False
        case "on-off":
            return {"on": True, "off": False}[given]
        case "constant":
            return flag.prefix + given.upper()
        case "load":
            return LOAD_MODES[given]
        case "key":
            lines = Path(given).read_text("utf-8").splitlines()
            keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
            if len(keys) != 1:
                raise ValueError(f"it holds {len(keys)} keys, and this server knows one")
            return keys[0]


def help_text() -> str:
    """Return the list of flags, in the form of llama-server's."""
    rows = [(n if flag.kind == "off" else f"{n} VALUE", flag.help) for n, flag in FLAGS.items()]
    return "".join(f"{name:26} {text}\n" for name, text in [*rows, *QUESTIONS.items()])
