"""Saved KV caches: prompts that were read once, on the disk, for the next time they are sent.

- `prompt`: what a prompt consists of, as a client sends it, and where two differ. Pure.
- `depends`: what a saved cache depends on; it is given to an engine only if all of it is equal.
- `policy`: how much may be kept.
- `kept`: all that a gateway is told of it.
"""
