"""Launch lines keep to the values that an engine's help names."""

import pytest

from runner.engine.installed.flag_values import fitted, values_of
from runner.plan.launch import LaunchSpec

NEW = """----- common params -----
-m,    --model FNAME                    model path
-fa,   --flash-attn [on|off|auto]       set Flash Attention use ('on', 'off', or 'auto')
-lm,   --load-mode MODE                 model loading mode (default: auto)
                                        - none: no special loading mode
                                        - mmap: memory-map model (if disabled, slower
                                        - dio: direct reads
-ctk,  --cache-type-k TYPE              KV cache data type for K
                                        allowed values: f32, f16, q8_0
-sm,   --split-mode {none,layer,row,tensor}
                                        how to split the model
--spec-type none,draft-mtp,ngram-simple
                                        comma-separated list
-kvu,  --kv-unified, -no-kvu, --no-kv-unified
                                        use one cache (default: on)
--jinja, --no-jinja                     whether to use jinja
--threads-http N                        number of threads
"""
OLD = """-m, --model FNAME                       model path
-fa, --flash-attn                       enable Flash Attention (default: disabled)
-np, --parallel N                       slots
--spec-type [none|ngram-cache]          kinds of speculation
"""


def test_what_the_help_says():
    values = values_of(NEW)
    assert values["--flash-attn"] == values["-fa"] == ("on", "off", "auto")
    assert values["--load-mode"] == ("none", "mmap", "dio")
    assert values["--cache-type-k"] == ("f32", "f16", "q8_0")
    assert values["--split-mode"] == ("none", "layer", "row", "tensor")
    assert values["--spec-type"] == ("none", "draft-mtp", "ngram-simple")
    assert values["--jinja"] == ()
    assert not {"--model", "--threads-http", "--kv-unified"} & values.keys()


def test_a_help_without_values_says_nothing():
    assert values_of("--model      the model\n--port       the port\n") == {}


@pytest.mark.parametrize(
    ("help_text", "argv", "kept", "lost"),
    [
        (NEW, "--flash-attn on --load-mode dio", "--flash-attn on --load-mode dio", ()),
        (NEW, "--load-mode mlock --jinja", "--jinja", ()),
        (NEW, "--cache-type-k q4_0", "", ("--cache-type-k",)),
        (NEW, "--spec-type draft-mtp,ngram-simple", "--spec-type draft-mtp,ngram-simple", ()),
        (OLD, "--flash-attn on --parallel -1", "--flash-attn --parallel -1", ()),
        (OLD, "--flash-attn off --parallel 2", "--parallel 2", ()),
        (OLD, "--spec-type draft-mtp", "", ("--spec-type",)),
        ("", "--flash-attn on --spec-type draft-mtp", "--flash-attn on --spec-type draft-mtp", ()),
    ],
)
def test_a_line_keeps_to_it(help_text, argv, kept, lost):
    spec = fitted(LaunchSpec(tuple(argv.split())), values_of(help_text))
    assert (spec.argv, spec.lost) == (tuple(kept.split()), lost)
