"""The chat in the terminal: `runner.tui.app.ChatApp`."""
