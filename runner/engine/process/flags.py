"""The flags of llama-server that the embedded engine takes, as data.

No native code is needed to read this table: the planner asks it what may be passed.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

# fmt: off
Kind = Literal[
    "text", "whole", "real", "set", "unset", "on-off", "one-of", "name", "names", "keys", "types",
    "shares", "experts",
]
# fmt: on


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: the attribute of xllamacpp's CommonParams that it sets, and how.

    `text`, `whole` and `real` take the value; `set` and `unset` take none; `on-off` takes a word;
    `one-of` is a member `prefix + VALUE` of xllamacpp's `enum`, `spelled` where the native name
    differs; `types` is a list of one such; `name` is a set of one, `names` a list of one; `keys`
    reads a file; `shares` are numbers with commas, one for each card; `experts` is the number of
    layers whose routed experts stay in main memory.
    """

    path: str
    kind: Kind
    enum: str = ""
    prefix: str = ""
    spelled: dict[str, str] = field(default_factory=dict)

    @property
    def takes_value(self) -> bool:
        """Whether a word follows the flag."""
        return self.kind not in {"set", "unset"}


def _kv_type(path: str) -> Flag:
    return Flag(path, "one-of", "ggml_type", "GGML_TYPE_")


FLAGS: Final = {
    "--model": Flag("model.path", "text"),
    "--alias": Flag("model_alias", "name"),
    "--mmproj": Flag("mmproj.path", "text"),
    "--ctx-size": Flag("n_ctx", "whole"),
    "--parallel": Flag("n_parallel", "whole"),
    "--kv-unified": Flag("kv_unified", "set"),
    "--batch-size": Flag("n_batch", "whole"),
    "--ubatch-size": Flag("n_ubatch", "whole"),
    "--cache-type-k": _kv_type("cache_type_k"),
    "--cache-type-v": _kv_type("cache_type_v"),
    "--flash-attn": Flag(
        "flash_attn_type",
        "one-of",
        "llama_flash_attn_type",
        "LLAMA_FLASH_ATTN_TYPE_",
        {"on": "enabled", "off": "disabled"},
    ),
    "--n-gpu-layers": Flag("n_gpu_layers", "whole"),
    # No --device: CommonParams cannot choose cards. Variables can (`[cards]` in builds/*.toml).
    "--split-mode": Flag("split_mode", "one-of", "llama_split_mode", "LLAMA_SPLIT_MODE_"),
    "--tensor-split": Flag("tensor_split", "shares"),
    "--n-cpu-moe": Flag("tensor_buft_overrides", "experts"),
    "--no-mmproj-offload": Flag("mmproj_use_gpu", "unset"),
    "--fit": Flag("fit_params", "on-off"),
    "--ctx-checkpoints": Flag("n_ctx_checkpoints", "whole"),
    "--checkpoint-min-step": Flag("checkpoint_min_step", "whole"),
    "--cache-ram": Flag("cache_ram_mib", "whole"),
    "--slot-prompt-similarity": Flag("slot_prompt_similarity", "real"),
    "--slot-save-path": Flag("slot_save_path", "text"),
    "--jinja": Flag("use_jinja", "set"),
    "--reasoning-format": Flag(
        "reasoning_format", "one-of", "common_reasoning_format", "COMMON_REASONING_FORMAT_"
    ),
    "--cors-origins": Flag("cors_origins", "text"),
    "--verbosity": Flag("verbosity", "whole"),
    "--threads": Flag("cpuparams.n_threads", "whole"),
    "--threads-http": Flag("n_threads_http", "whole"),
    "--threads-batch": Flag("cpuparams_batch.n_threads", "whole"),
    "--load-mode": Flag(
        "load_mode", "one-of", "llama_load_mode", "LLAMA_LOAD_MODE_", {"dio": "direct_io"}
    ),
    "--no-repack": Flag("no_extra_bufts", "set"),
    "--no-warmup": Flag("warmup", "unset"),
    "--spec-type": Flag(
        "speculative.types", "types", "common_speculative_type", "COMMON_SPECULATIVE_TYPE_"
    ),
    "--spec-draft-model": Flag("speculative.draft.mparams.path", "text"),
    "--spec-draft-device": Flag("speculative.draft.devices", "text"),
    "--spec-draft-n-max": Flag("speculative.draft.n_max", "whole"),
    "--temp": Flag("sampling.temp", "real"),
    "--repeat-penalty": Flag("sampling.penalty_repeat", "real"),
    "--predict": Flag("n_predict", "whole"),
    "--host": Flag("hostnames", "names"),
    "--port": Flag("port", "whole"),
    "--api-key-file": Flag("api_keys", "keys"),
}
