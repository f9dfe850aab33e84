"""Turns a plan's decisions into an engine's command line, as data.

The flags are llama-server's; the embedded engine takes the same ones. Nothing is passed that
the engine did not list, so that an older or newer build never dies of an unknown flag.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runner.plan.devices import Cards
from runner.plan.memory.compute_buffers import Costs
from runner.plan.memory.lessons import Lesson


@dataclass(frozen=True, slots=True)
class Floors:
    """What must be left of main memory while an engine runs, in bytes.

    Below `low` its owner is told; below `least` it is stopped. `mapped`: of its weights, what it
    computes from where the file is mapped, which the system counts as memory that can be had.
    """

    low: int
    least: int
    mapped: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run is compared with when it has ended; sizes in bytes.

    `bytes`: what was counted of main memory, or of the memory that is shared, the reserve and
    earlier lessons aside. `account`: the same by the engine itself, 0 where that is not known.
    `key`: the machine, the engine build and the driver that it says something of. `model`: what
    ran. `driver`: whether a driver takes memory for it, which no process shows.
    """

    key: str
    bytes: int
    model: str = ""
    account: int = 0
    driver: bool = False


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What to start: flags for any llama-server.

    `total_bytes`: what the ledger expects it to hold, so that two engines started by hand do not
    overcommit the machine together. `env`: variables beside those that are set already. `lost`:
    flags that the plan depends on and the engine does not know, so that it must not be started.
    `long_words`: its self-test has answered or refused a long word. `floors`: where the engine is
    stopped before this machine runs out of memory; None: nobody watches. `expected`: what it is
    compared with, so that a later plan counts what this one missed. `weights_bytes`: the files that
    it loads, 0 where nobody asks how far it is.
    """

    argv: tuple[str, ...]
    total_bytes: int = 0
    env: tuple[tuple[str, str], ...] = ()
    lost: tuple[str, ...] = ()
    long_words: bool = False
    floors: Floors | None = None
    expected: Expected | None = None
    weights_bytes: int = 0


# Without these the model would lie elsewhere than planned, or lack a part; all others only tune.
RESTS_ON: Final = frozenset(
    {
        *("--model", "--ctx-size", "--cache-type-k", "--cache-type-v", "--mmproj"),
        *("--no-mmproj-offload", "--tensor-split", "--n-cpu-moe", "--device"),
        *("--parallel", "--kv-unified", "--spec-type", "--spec-draft-model"),
    }
)


# llama-server answers each request in a thread. Beside its slots it needs some for what is short,
# such as counting tokens: so many at once are asked by the gateway, and the health is asked, too.
HTTP_THREADS_BESIDE: Final = 8


@dataclass(frozen=True, slots=True)
class EngineFiles:
    """The files of one model on this disk. `weights` is the first shard."""

    weights: Path
    projector: Path | None = None
    mtp: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """The decisions of a plan that become flags or variables of an engine.

    `context` is per slot, in tokens, or with `shared` of all slots together; `spare`: slots beside
    `parallel` that share it, too. `checkpoint_step`: how far apart in tokens checkpoints lie, 0 for
    the engine's own. `cache_ram_mib` bounds the engine's prompt cache; `threads` is 0 where the
    accelerator does the work.
    `mtp_tokens`: draft length, 0 for none. `layers`: how many each of several cards takes.
    `n_cpu_moe`: of how many layers, from the first, the routed experts stay in main memory;
    `mmproj_on_cpu`: whether the projector does.
    `env`: the variables that select the cards, in the order of `layers`; `devices`: what the engine
    calls them, where `--device` selects them. `mtp_device`: the card for draft heads of a
    file of their own, where there are several.
    """

    context: int
    kv_type: str = "f16"
    batch: int = 2048
    ubatch: int = 512
    parallel: int = 1
    shared: bool = False
    spare: int = 0
    checkpoints: int = 4
    checkpoint_step: int = 0
    cache_ram_mib: int = 0
    gpu_layers: int = 99
    threads: int = 0
    load_mode: str = ""
    mtp_tokens: int = 0
    repack: bool = True
    alias: str = "model"
    sampling: tuple[tuple[str, float], ...] = ()
    layers: tuple[int, ...] = ()
    n_cpu_moe: int = 0
    mmproj_on_cpu: bool = False
    env: tuple[tuple[str, str], ...] = ()
    devices: tuple[str, ...] = ()
    mtp_device: str = ""


@dataclass(frozen=True, slots=True)
class RunDefaults:
    """How a backend is best run, from its recipe in `builds/`.

    `load_mode`: how the engine reads the weights. `ubatch`: the largest micro-batch worth having.
    `costs`: what it spends beyond the model's own bytes. `cards`: how its driver selects
    cards, None where only the engine's own names for them do. Of the engine: `shared_slots`:
    whether slots can share one cache (`--kv-unified`); `spare_slot`: whether one more is worth
    having, as it is kept for whoever chooses it; `keeps_prompts`: whether prompts that were read
    are kept on the disk. `lesson`: what this machine has shown beyond what was counted.
    """

    load_mode: str = "mmap"
    ubatch: int = 2048
    repack: bool = True
    costs: Costs = field(default_factory=Costs)
    cards: Cards | None = None
    shared_slots: bool = True
    spare_slot: bool = True
    keeps_prompts: bool = True
    lesson: Lesson | None = None


def launch(
    files: EngineFiles, settings: Settings, flags: frozenset[str], total_bytes: int = 0
) -> LaunchSpec:
    """Return the engine's command line, with only those flags that the engine lists.

    `flags`: every flag that this engine knows. `total_bytes`: what it is expected to hold.
    """
    s = settings
    slots, one_cache = s.parallel + s.spare, s.shared or s.spare > 0
    wanted: list[tuple[str, ...]] = [
        ("--model", str(files.weights)),
        ("--alias", s.alias),
        ("--ctx-size", str(s.context * (1 if one_cache else slots))),
        ("--parallel", str(slots)),
        ("--kv-unified",) if one_cache else (),
        ("--threads-http", str(slots + HTTP_THREADS_BESIDE + 2)),
        ("--batch-size", str(s.batch)),
        ("--ubatch-size", str(s.ubatch)),
        ("--cache-type-k", s.kv_type),
        ("--cache-type-v", s.kv_type),
        ("--flash-attn", "on"),
        ("--n-gpu-layers", str(s.gpu_layers)),
        # The engine's own fitting ignores the projector and unified memory: the plan has decided.
        ("--fit", "off"),
        # Both defaults (32 per slot, 8192 MiB) live in the same memory as the weights.
        ("--ctx-checkpoints", str(s.checkpoints)),
        ("--checkpoint-min-step", str(s.checkpoint_step)) if s.checkpoint_step else (),
        ("--cache-ram", str(s.cache_ram_mib)),
        ("--jinja",),
        ("--reasoning-format", "deepseek"),
        # A page in the user's browser must not reach the engine; local tools may.
        ("--cors-origins", "localhost"),
        # Level 4 prints what every cache and buffer takes, and none of the user's words.
        ("--verbosity", "4"),
    ]
    if s.threads:
        wanted += [("--threads", str(s.threads)), ("--threads-batch", str(s.threads))]
    wanted += [(f"--{name}", f"{value:g}") for name, value in s.sampling]
    if s.devices:
        wanted.append(("--device", ",".join(s.devices)))
    if s.layers:
        split = ",".join(str(count) for count in s.layers)
        wanted += [("--split-mode", "layer"), ("--tensor-split", split)]
    if s.n_cpu_moe:
        wanted.append(("--n-cpu-moe", str(s.n_cpu_moe)))
    if s.load_mode:
        wanted.append(_load_mode(s.load_mode, flags))
    if not s.repack:
        wanted.append(("--no-repack",))
    if files.projector:
        wanted.append(("--mmproj", str(files.projector)))
        if s.mmproj_on_cpu:
            wanted.append(("--no-mmproj-offload",))
    if s.mtp_tokens:
        wanted += [("--spec-type", "draft-mtp"), ("--spec-draft-n-max", str(s.mtp_tokens))]
        if files.mtp:
            wanted.append(("--spec-draft-model", str(files.mtp)))
            if s.mtp_device:  # else they would spread over the last cards
                wanted.append(("--spec-draft-device", s.mtp_device))
    argv = tuple(word for words in wanted if words and words[0] in flags for word in words)
    # One slot, f16 and the one device there is are what an engine without the flag has anyway.
    usual = {("--parallel", "1"), ("--cache-type-k", "f16"), ("--cache-type-v", "f16")}
    usual |= {("--device", name) for name in s.devices if len(s.devices) == 1}
    lost = {words[0] for words in wanted if words and words not in usual} & RESTS_ON - flags
    return LaunchSpec(argv, total_bytes, s.env, tuple(sorted(lost)))


def _load_mode(mode: str, flags: frozenset[str]) -> tuple[str, ...]:
    """Return how to read the file: newer builds have --load-mode, older ones a flag for each."""
    if "--load-mode" in flags:
        return ("--load-mode", mode)
    return {"none": ("--no-mmap",), "dio": ("--direct-io",)}.get(mode, ())
