"""Saved KV caches: prompts that were read once, on the disk, for the next time they are sent.

- `prompt`: what a prompt consists of, as a client sends it, and where two differ. Pure.
- `differ`: which earlier prompt one continues, and why it is read again. Pure.
- `depends`: what a saved cache depends on; it is given to an engine only if all of it is equal.
- `policy`: what is worth keeping, and within which bounds. Pure.
- `saved`: what the store hands out. Pure.
- `store`: caches of one engine and model: found, written, opened, and in bounds.
- `shelf`: all of them: listed and cleared, whichever engine they are for.
- `opened`: which of its files this process has opened, and found whole.
- `index`, `files`: its two sides on the disk. Both may be damaged, or somebody else's.
- `kept`: all that a gateway is told of it.
"""
