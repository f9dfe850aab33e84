"""The chat in the terminal: `runner.tui.app.ChatApp`."""

import logging

# Without it, a trace that nobody logs would be written over the screen.
logging.getLogger(__name__).addHandler(logging.NullHandler())
