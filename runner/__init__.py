"""steprun: Step-3.7-Flash on a 128 GB desktop.

The folders tell the story in order: `machine` (what is this computer), `plan` (what can it
run), `weights` and `engine` (get them), `talk` (speak to it); `commands` and `tui` are the faces.
"""

__version__ = "0.1.0"
