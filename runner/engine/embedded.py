"""The embedded engine: llama-server out of the `xllamacpp` wheel, as a program of its own.

`python -m runner.engine.embedded FLAGS` takes llama-server's flags (those in `FLAGS`) and serves
its HTTP API until it is stopped. It is always a child process: a native crash ends this
process, never the terminal.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Setter = Callable[[Any, str], None]


def _int(path: str) -> Setter:
    return lambda params, value: _put(params, path, int(value))


def _str(path: str) -> Setter:
    return lambda params, value: _put(params, path, value)


def _true(path: str) -> Setter:
    return lambda params, _: _put(params, path, True)


def _onoff(path: str) -> Setter:
    return lambda params, value: _put(params, path, value == "on")


def _enum(path: str, enum: str, prefix: str, **spelling: str) -> Setter:
    """Set a native enum from llama-server's spelling of its values."""

    def put(params: Any, value: str) -> None:
        import xllamacpp  # noqa: PLC0415 - 100 MB of native code, only in this process

        name = prefix + spelling.get(value, value).upper().replace("-", "_")
        _put(params, path, getattr(getattr(xllamacpp, enum), name))

    return put


def _put(params: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        params = getattr(params, parent)
    setattr(params, last, value)


def _keys_from(params: Any, value: str) -> None:
    params.api_keys = [
        key for line in Path(value).read_text("utf-8").splitlines() if (key := line.strip())
    ]


def _spec_type(params: Any, value: str) -> None:
    import xllamacpp  # noqa: PLC0415

    name = "COMMON_SPECULATIVE_TYPE_" + value.upper().replace("-", "_")
    params.speculative.types = [getattr(xllamacpp.common_speculative_type, name)]


def _threads(params: Any, value: str) -> None:
    params.cpuparams.n_threads = int(value)
    params.cpuparams_batch.n_threads = int(value)


# llama-server's flag -> (takes a value, what it sets in xllamacpp's CommonParams).
FLAGS: dict[str, tuple[bool, Setter]] = {
    "--model": (True, _str("model.path")),
    "--alias": (True, lambda params, value: _put(params, "model_alias", {value})),
    "--mmproj": (True, _str("mmproj.path")),
    "--ctx-size": (True, _int("n_ctx")),
    "--parallel": (True, _int("n_parallel")),
    "--batch-size": (True, _int("n_batch")),
    "--ubatch-size": (True, _int("n_ubatch")),
    "--cache-type-k": (True, _enum("cache_type_k", "ggml_type", "GGML_TYPE_")),
    "--cache-type-v": (True, _enum("cache_type_v", "ggml_type", "GGML_TYPE_")),
    "--flash-attn": (
        True,
        _enum(
            "flash_attn_type",
            "llama_flash_attn_type",
            "LLAMA_FLASH_ATTN_TYPE_",
            on="ENABLED",
            off="DISABLED",
        ),
    ),
    "--n-gpu-layers": (True, _int("n_gpu_layers")),
    "--fit": (True, _onoff("fit_params")),
    "--ctx-checkpoints": (True, _int("n_ctx_checkpoints")),
    "--cache-ram": (True, _int("cache_ram_mib")),
    "--jinja": (False, _true("use_jinja")),
    "--reasoning-format": (
        True,
        _enum("reasoning_format", "common_reasoning_format", "COMMON_REASONING_FORMAT_"),
    ),
    "--cors-origins": (True, _str("cors_origins")),
    "--verbosity": (True, _int("verbosity")),
    "--threads": (True, _threads),
    "--load-mode": (
        True,
        _enum("load_mode", "llama_load_mode", "LLAMA_LOAD_MODE_", dio="DIRECT_IO"),
    ),
    "--no-repack": (False, _true("no_extra_bufts")),
    "--no-warmup": (False, lambda params, _: _put(params, "warmup", value=False)),
    "--spec-type": (True, _spec_type),
    "--spec-draft-model": (True, _str("speculative.draft.mparams.path")),
    "--spec-draft-n-max": (True, _int("speculative.draft.n_max")),
    "--host": (True, lambda params, value: _put(params, "hostnames", [value])),
    "--port": (True, _int("port")),
    "--api-key-file": (True, _keys_from),
    "--slot-save-path": (True, _str("slot_save_path")),
    "--metrics": (False, _true("endpoint_metrics")),
}


def apply(params: Any, argv: Sequence[str]) -> None:
    """Set each of llama-server's flags in `params` (an xllamacpp.CommonParams).

    Raises ValueError naming the flag that is unknown, incomplete or has a value it cannot have.
    """
    words = iter(argv)
    for flag in words:
        if flag not in FLAGS:
            raise ValueError(f"unknown flag {flag}")
        takes_value, put = FLAGS[flag]
        value = next(words, None) if takes_value else ""
        if value is None:
            raise ValueError(f"{flag} needs a value")
        try:
            put(params, value)
        except (AttributeError, ValueError) as error:
            raise ValueError(f"{flag} cannot be {value!r}") from error


def main(argv: Sequence[str]) -> int:
    """Serve until stopped by a signal. Returns 1 where the model does not load."""
    import xllamacpp  # noqa: PLC0415

    params = xllamacpp.CommonParams()
    try:
        apply(params, argv)
        server = xllamacpp.Server(params)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    print(f"embedded engine ready on {server.listening_address}", file=sys.stderr, flush=True)
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
