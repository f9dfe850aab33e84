"""Kills `steprun chat` while one types, waits and reads, and looks for what it lost."""
